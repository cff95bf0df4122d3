"""Names: to which addresses they lead, as files and as a zone; and the DNS server of a lab, asked by its client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import topology
from chaos.backends import names
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns, places
from chaos.errors import LabError, ScenarioError
from chaos.model import Family, Setting
from chaos.scenario import load
from tests.labs import session

__all__ = ["session"]

NODES = ["client", "server", "dns"]
FOUR, SIX, NOWHERE = "198.18.2.2", "2001:db8:0:2::2", "198.19.255.254"
SCENARIO = "names: dns\ntopology: {topology}\nfaults: [{fault}]\nexpect: {{error: ok}}\n"


def setting(**keys: Any) -> Setting:
    return Setting(topology.find("client-server", Path.cwd()), **keys)


def zone(overrides: names.Overrides, **keys: Any) -> list[str]:
    return names.zone(setting(**keys), places(NODES), overrides)["server"]


def test_a_name_leads_to_the_family_s_address() -> None:
    assert zone({}) == [FOUR]
    assert zone({}, family="ipv6") == [SIX]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_or_to_both_of_them_the_preferred_one_first(family: Family) -> None:
    assert zone({}, family=family, addresses="both") == [SIX, FOUR]


def test_what_leads_elsewhere_does_so_in_the_family_alone() -> None:
    assert zone({"server": [NOWHERE, FOUR]}) == [NOWHERE, FOUR]
    assert zone({"server": [NOWHERE]}, addresses="both") == [SIX, NOWHERE]


def test_the_files() -> None:
    both = names.hosts(setting(addresses="both"), places(NODES), {})
    assert f"{SIX} server\n{FOUR} server\n" in both
    assert names.hosts(setting(names="dns"), places(NODES), {}) == "127.0.0.1 localhost\n"
    assert names.etc(None) == {"nsswitch.conf": "hosts: files\n", "resolv.conf": ""}
    assert names.etc("198.18.3.2")["resolv.conf"] == "nameserver 198.18.3.2\noptions timeout:1 attempts:2\n"


def problems(tmp_path: Path, fault: str, topology: str = "client-server", **changes: str) -> str:
    file = tmp_path / "it.chaos.yaml"
    text = SCENARIO.format(fault=fault, topology=topology)
    for old, new in changes.items():
        text = text.replace(f"{old}: dns", f"{old}: {new}")
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load(file)
    return str(caught.value)


def test_a_dns_fault_needs_a_dns_server(tmp_path: Path) -> None:
    assert "say `names: dns`" in problems(tmp_path, "{dns: {answer: nxdomain}}", names="hosts")
    assert "'server' is no DNS server" in problems(tmp_path, "{dns: {answer: nxdomain, at: server}}")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("{dns: {answer: slow}}", "`by` says how late"),
        ("{dns: {answer: nxdomain, by: 1s}}", "`by` says how late"),
        ("{dns: {answer: servfail, tcp: false}}", "`tcp: false` is for `truncated`"),
        ("{dns: {answer: nxdomian}}", "did you mean 'nxdomain'"),
        ("{dead-address: {at: server}}", "looked up at the client"),
    ],
)
def test_what_a_fault_of_names_cannot_be(tmp_path: Path, fault: str, says: str) -> None:
    assert says in problems(tmp_path, fault)


def test_the_name_dns_may_be_taken(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("services: {client: {image: a}, server: {image: a}, dns: {image: a}}\n")
    assert "adds a node `dns`" in problems(tmp_path, "{drop: {at: server, segment: syn}}", topology="./own.yaml")


# -- what only a kernel can do


def with_dns(family: Family = "ipv4", addresses: Any = "family") -> Setting:
    """As a scenario with `names: dns` has it."""
    case = load(Path(__file__).parents[1] / "scenarios" / "names" / "no-address.chaos.yaml").cases[0]
    return replace(case.setting, family=family, addresses=addresses)


@contextmanager
def lab_of(session: Netns, **keys: Any) -> Iterator[AgentLab]:
    with session.start(with_dns(**keys)) as lab:
        yield lab


def found(lab: AgentLab, name: str = "server") -> list[str]:
    """What getaddrinfo() returns at the client, in its order; nothing where it fails."""
    code = (
        "import socket, sys\n"
        "try: found = socket.getaddrinfo(sys.argv[1], 0, type=socket.SOCK_STREAM)\n"
        "except socket.gaierror as error: found = [(0, 0, 0, 0, [str(error)])]\n"
        "print(*(each[4][0] for each in found), sep='\\n')"
    )
    said: str = lab.nodes["client"].call("command", argv=[sys.executable, "-c", code, name])
    return said.splitlines()


@pytest.mark.slow("starts labs and interpreters in them")
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_dns_server_answers_for_every_name_and_no_other(session: Netns, family: Family) -> None:
    with lab_of(session, family=family) as lab:
        assert found(lab) == [lab.nodes["server"].address]
        assert found(lab, "client") == [lab.nodes["client"].address]
        assert found(lab, "nobody") == ["[Errno -2] Name or service not known"]
        assert lab.resolver("dns").answered() == 6


@pytest.mark.slow("starts labs and interpreters in them")
def test_both_addresses_come_in_the_order_of_rfc_6724(session: Netns) -> None:
    with lab_of(session, addresses="both") as lab:
        assert found(lab) == [SIX, FOUR]
        assert lab.target_addresses == {SIX, FOUR}


@pytest.mark.slow("starts labs and interpreters in them")
@pytest.mark.parametrize("source", ["hosts", "dns"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_dead_address_stays_in_front(session: Netns, source: Any, family: Family) -> None:
    with session.start(replace(with_dns(family), names=source)) as lab:
        own = lab.nodes["server"].address
        lab.names("client", {"server": [lab.nowhere, own]})
        assert found(lab) == [lab.nowhere, own]
        assert lab.target_address == own
        assert lab.target_addresses == {own, lab.nowhere}
        lab.names("client", {})
        assert found(lab) == [own]


@pytest.mark.slow("starts labs and interpreters in them")
def test_an_answer_that_is_owed_is_forgotten_with_the_fault(session: Netns) -> None:
    with lab_of(session) as lab:
        resolver = lab.resolver("dns")
        resolver.behave("slow", by=60.0)
        assert found(lab) == ["[Errno -3] Temporary failure in name resolution"]
        resolver.behave("honest")
        assert found(lab) == [FOUR]
        with pytest.raises(LabError, match="'server' has no DNS server; there is one at: dns"):
            lab.resolver("server")
