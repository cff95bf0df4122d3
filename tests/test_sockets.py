"""The socket client's vocabulary: what it refuses, what its words mean to the kernel, and how its ends are foretold."""

from __future__ import annotations

import ast
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import stepwise
from chaos.agent import dialling, endpoint, kernel, privileges
from chaos.backends.fake import Fake
from chaos.backends.netns import Netns
from chaos.check import Leg, check
from chaos.clients.socket import Socket
from chaos.conversation import datagrams
from chaos.errors import ScenarioError
from chaos.evidence import Evidence
from chaos.explain import explain, predict
from chaos.model import Outcome
from chaos.packets import Packet, Quoted
from chaos.pattern import parse
from chaos.run import run
from chaos.scenario import Case, load
from chaos.scenario.language import Expect, Local
from chaos.wire import match
from tests.forked import forked
from tests.shipped import cases
from tests.talk import CLIENT, PORT, T0, TARGET, talk

OK = Leg(ok=True)


def written(text: str, folder: Path) -> list[Case]:
    folder.chmod(0o755)
    file = folder / "it.chaos.yaml"
    file.write_text(f"# A scenario of this test's own.\n{text}\n")
    return list(load(file).cases)


# -- the language


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("client: {use: socket, steps: [send]}", "the first step must be `connect`"),
        ("client: {use: socket, steps: [start]}", "needs `mode: nonblocking`"),
        ("client: {use: socket, steps: [{connect: unscoped}]}", "say `family: ipv6`"),
        ("client: {use: socket, steps: [{connect: nowhere}]}", "'itself', 'other-family' or 'unscoped'"),
        ("client: {use: socket, steps: [connect, {pause: 1s}]}", "expected a step such as connect, {wait: fault}"),
        ("client: {use: socket, steps: [conect]}", "did you mean 'connect'?"),
        (
            "client: {use: socket, mode: timeout, timeout: 1s, steps: [{interrupt: 1s}, connect]}",
            "only a blocking connect() can be interrupted",
        ),
        ("client: {use: socket, options: {TCP_KEEPIDLE: 1500ms}}", "TCP_KEEPIDLE counts in whole seconds"),
        ("client: {use: socket, options: {TCP_KEEPIDEL: 1s}}", "did you mean 'TCP_KEEPIDLE'?"),
        ("type: datagram\nclient: {use: socket, options: {TCP_SYNCNT: 1}}", "TCP_SYNCNT: only TCP has them"),
        ("family: local\nclient: {use: socket, bind: {port: 5}}", "only TCP and UDP have ports to bind"),
        ("client: {use: socket, bind: {}}", "bind what?"),
        ("family: local\nclient: {use: socket, steps: [{connect: itself}]}", "has no other addresses"),
        ("type: datagram\nclient: {use: requests}", "only the socket client"),
        ("type: raw\nfaults: [{drop: {at: server, segment: syn}}]", "has no segments to choose from"),
        ("family: local\nfaults: [{drop: {at: client, segment: any}}]", "drop acts on stream and datagram and raw"),
        ("faults: [{socket-file: {at: server, state: stale}}]", "socket-file acts on local sockets"),
        ("faults: [{port-taken: {at: client}}]", "takes the port that the client binds"),
        ("faults: [{simultaneous-open: {at: server}}]", "dials the port that the client binds"),
        (
            "path: direct\nfaults: [{simultaneous-open: {at: server}}]\nclient: {use: socket, bind: {port: 5555}}",
            "simultaneous-open needs the wire",
        ),
        (
            "family: local\ntype: datagram\nfaults: [{socket-file: {at: client, state: full}}]",
            "only a stream socket has a queue",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        written(f"{text}\nexpect: {{error: ok}}", tmp_path)
    assert problem in str(caught.value)


def test_domains_and_types_are_axes(tmp_path: Path) -> None:
    found = written("matrix: {family: [ipv6, local], type: [stream, raw]}\nexpect: {error: ok}", tmp_path)
    assert [case.name for case in found] == ["ipv6-stream", "ipv6-raw", "local-stream", "local-raw"]
    assert [(it.setting.family, it.setting.local, it.setting.type) for it in found[1:3]] == [
        ("ipv6", False, "raw"),
        ("ipv4", True, "stream"),
    ]
    assert found[2].setting.listen.node == "client"


def test_the_baseline_is_an_ordinary_client(tmp_path: Path) -> None:
    [case] = written(
        "client: {use: socket, bind: {address: foreign}, options: {SO_SNDTIMEO: 1s}, privileges: none, steps: [start],"
        " mode: nonblocking}\nexpect: {error: ok}",
        tmp_path,
    )
    assert isinstance(case.client, Socket)
    assert case.client.healthy() == Socket(mode="nonblocking")


# -- the kernel


def test_options_are_set_in_the_kernel_s_own_units() -> None:
    with endpoint.make("ipv4", "stream") as sock:
        endpoint.set_options(
            sock, {"SO_SNDTIMEO": 1.25, "TCP_USER_TIMEOUT": 1.5, "TCP_KEEPIDLE": 2.0, "SO_KEEPALIVE": True}
        )
        timeval = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
        seconds, microseconds = struct.unpack("@ll", timeval)
        assert seconds + microseconds / 1e6 == pytest.approx(1.25, abs=0.01)  # in jiffies
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.mark.parametrize(("family", "address"), [("ipv4", "127.0.0.1"), ("ipv6", "::1")])
def test_an_address_is_what_libc_takes(family: str, address: str) -> None:
    with endpoint.make(family, "stream") as listener, endpoint.make(family, "stream") as sock:
        listener.bind((address, 0))
        listener.listen(1)
        kernel.connect(sock.fileno(), endpoint.sockaddr(*listener.getsockname()[:2]))
        assert sock.getpeername()[:2] == listener.getsockname()[:2]


def test_libc_says_what_python_would_not() -> None:
    with endpoint.make("ipv4", "stream") as sock, pytest.raises(OSError, match="connect") as caught:
        kernel.connect(sock.fileno(), endpoint.sockaddr("::1", 1))
    assert caught.value.errno == errno.EAFNOSUPPORT


def raw_inside_and_after() -> list[str]:
    """What a raw socket says while the privileges are dropped, and when they have come back."""
    said = []
    for around in (privileges.dropped(), None):
        try:
            if around is None:
                endpoint.make("ipv4", "raw").close()
            else:
                with around:
                    endpoint.make("ipv4", "raw").close()
            said.append("ok")
        except OSError as error:
            said.append(errno.errorcode[error.errno or 0])
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_privileges_are_dropped_and_come_back() -> None:
    assert forked(raw_inside_and_after) == ["EPERM", "ok"]


def test_a_path_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "folder" / "it")
    endpoint.bound(path, 0, "stream").close()  # and its file stays
    with endpoint.bound(path, 0, "datagram") as sock:
        assert sock.getsockname() == path


# -- what is on the wire


HERE, THERE = frozenset({CLIENT}), frozenset({TARGET})


def udp(way: str, *, at: int = 0, port: int = PORT, protocol: Any = "udp") -> Packet:
    ends = (CLIENT, TARGET, 40000, port) if way == ">" else (TARGET, CLIENT, port, 40000)
    return Packet(T0 + at, way == ">", ends[0], ends[1], protocol, ends[2], ends[3], length=16)


def icmp(quoted: Quoted | None) -> Packet:
    return Packet(T0 + 9, False, TARGET, CLIENT, "icmp", icmp=(3, 3), quoted=quoted)


def test_datagrams_belong_by_their_ends_and_errors_by_what_they_quote() -> None:
    ours = (udp(">"), udp("<", at=5), icmp(Quoted(CLIENT, 40000, TARGET, PORT, None)))
    others = (udp(">", port=9), icmp(Quoted(CLIENT, 40000, TARGET, PORT, 7)), icmp(None), *talk("> syn"))
    assert datagrams([*others, *ours], HERE, THERE, PORT, T0, T0 + 10) == ours
    assert datagrams(ours, HERE, THERE, PORT, T0, T0 + 4) == ours[:1]


def test_a_raw_datagram_has_no_port() -> None:
    raw = replace(udp(">", protocol="raw"), sport=0, dport=0)
    assert datagrams([raw], HERE, THERE, PORT, T0, T0 + 10) == (raw,)


def test_the_window_is_a_field_of_the_wire() -> None:
    closed = [replace(packet, window=0) for packet in talk("> syn", "< syn-ack", "> ack", "< ack")]
    patterns = [parse(line) for line in ("> syn", "< syn-ack", "> ack", "< ack win=0")]
    assert match(patterns, closed) == []
    assert match(patterns, [*closed[:3], replace(closed[3], window=7)]) != []


# -- the verdict


def judged(expect: Expect, outcome: Outcome, *packets: Packet, **fields: Any) -> tuple[str, tuple[str, ...]]:
    evidence = Evidence(outcome, "client", {"client": packets}, ephemeral=(32768, 60999), **fields)
    verdict = check(expect, evidence, (), OK, OK)
    return verdict.kind, verdict.reasons


def outcome(error: str = "ok", **fields: Any) -> Outcome:
    return Outcome(error, None, T0, T0 + 10, **fields)


def test_every_call_is_held_against_what_is_expected() -> None:
    said = outcome("EISCONN", calls=("socket", "connect", "connect EISCONN"))
    assert judged(Expect(calls=said.calls), said)[0] == "PASS"
    kind, reasons = judged(Expect(calls=("socket", "connect EISCONN")), said)
    assert (kind, reasons) == (
        "FAIL",
        ("calls: expected socket, connect EISCONN, got socket, connect, connect EISCONN",),
    )


def test_what_a_killed_client_called_is_not_known() -> None:
    assert judged(Expect(calls=("socket",)), outcome("hang"))[0] == "INVALID"


@pytest.mark.parametrize(
    ("packets", "kind"),
    [((udp(">"), udp("<", at=5)), "PASS"), ((udp(">"),), "INVALID"), ((), "INVALID")],
)
def test_an_answer_that_nobody_captured_is_not_believed(packets: tuple[Packet, ...], kind: str) -> None:
    said = outcome(calls=("socket", "connect", "send", "recv"))
    assert judged(Expect(error="ok"), said, *packets, type="datagram")[0] == kind


def test_a_connection_with_itself_needs_no_wire_and_is_not_just_said() -> None:
    end = (CLIENT, 40000)
    expect = Expect(error="ok", local=Local("ephemeral", "itself"))
    assert judged(expect, outcome(local=end, peer=end))[0] == "PASS"
    assert judged(expect, outcome(local=end, peer=(TARGET, PORT)), *talk("> syn", "< syn-ack", "> ack"))[0] == "FAIL"
    assert judged(expect, outcome(local=end))[0] == "INVALID"


# -- foretold


def jobs() -> Iterator[dict[str, Any]]:
    """What the operation `connect` is asked by every shipped case of the socket client's."""
    for case in cases():
        if isinstance(case.client, Socket) and not case.setting.proxied:
            with Fake() as fake, fake.start(case.setting) as lab:
                case.client.attempt(lab)
                yield dict(next(it.arguments for it in fake.operations if it.name == "connect"))


@pytest.mark.slow("every shipped case is asked of a lab without a kernel")
def test_what_a_person_types_is_python_without_a_single_quote() -> None:
    for job in jobs():
        text = stepwise.client(job)
        ast.parse(text)
        assert "'" not in text


ELSEWHERE = [
    "type: datagram\nfamily: ipv6\nclient: {use: socket, steps: [{connect: other-family}]}",
    "type: raw\nfamily: ipv6\nclient: {use: socket, steps: [{connect: other-family}]}",
    "family: local\nclient: {use: socket, steps: [connect, connect]}",
    "family: local\ntype: datagram\nclient: {use: socket, steps: [connect, connect, send, recv]}",
    "type: datagram\nclient: {use: socket, steps: [connect, connect, send, recv]}",
    "type: raw\nfaults: [{silent: {at: server}}]\nclient: {use: socket, mode: timeout, timeout: 500ms}",
    "link: {rtt: 300ms}\nclient: {use: socket, options: {SO_SNDTIMEO: 100ms}}",
    "client: {use: socket, options: {SO_SNDTIMEO: 900ms}}",
    "client: {use: socket, steps: [{interrupt: 900ms}, connect, send, recv]}",
    "client: {use: socket, steps: [connect, send, recv, shutdown, eof]}",
    "faults: [{vanish: {at: server, after: data}}]\nclient: {use: socket, mode: timeout, timeout: 900ms}",
    "family: local\nclient: {use: socket, privileges: none}",
]


@pytest.mark.slow("a lab each")
@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_no_shipped_scenario_does_is_foretold_too(text: str, tmp_path: Path) -> None:
    [case] = written(f"{text}\nexpect: {{error: ok}}", tmp_path)
    with Netns() as session:
        result = run(case, session)
    assert result.evidence is not None, result.verdict.reasons
    assert result.evidence.outcome.error in predict(case).errors
    assert predict(case).phase in (None, result.evidence.outcome.phase)


def test_explain_tells_what_is_peculiar(tmp_path: Path) -> None:
    [case] = written(
        "type: raw\nclient: {use: socket, privileges: none, options: {SO_SNDTIMEO: 1s}}\nexpect: {error: EPERM}",
        tmp_path,
    )
    text = explain(case)
    assert "SO_SNDTIMEO=1, without privileges" in " ".join(text.split())
    assert "raw sockets" in text
    assert "EPERM" in text


def test_the_agent_and_the_client_have_the_same_words() -> None:
    """The operation takes every step and option that the language has, by the same names."""
    from dataclasses import fields

    from chaos.clients._steps import Options

    assert {field.name for field in fields(Options)} == set(endpoint.OPTIONS)
    assert dialling.UNSCOPED.startswith("fe80:")
