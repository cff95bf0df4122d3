"""`connect-chaos exec`: any command, once, under faults; and faults without a file, as its options write them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import adhoc
from chaos.cli import main
from chaos.clients._passthrough import Passthrough
from chaos.errors import ScenarioError
from chaos.model import Setting
from tests.source import ROOT

CURL = ["curl", "-sS", "http://server:8080/"]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl: not found; apt-get install curl")


def setting(**keys: object) -> Setting:
    return adhoc.setting(keys, Passthrough(("true",)), Path.cwd(), "test")


# -- the lab and its faults


@pytest.mark.parametrize(
    ("text", "kind", "parameters"),
    [
        ("drop:segment=syn", "drop", {"segment": "syn"}),
        ("drop:segment=ack+data,at=router", "drop", {"segment": ["ack", "data"], "at": "router"}),
        ("icmp:type=3,code=1", "icmp", {"type": 3, "code": 1}),
        ("silent", "silent", {}),
    ],
)
def test_a_fault_is_a_kind_and_its_parameters(text: str, kind: str, parameters: dict[str, object]) -> None:
    assert adhoc.parsed(text) == (kind, parameters)


@pytest.mark.parametrize("text", ["drop:", "drop:segment", "drop:segment=", "drop:=syn", "drop:at=a,at=b", "drop:a=1,"])
def test_what_is_no_parameter_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"KEY=VALUE|given twice"):
        adhoc.parsed(text)


def test_a_fault_is_where_the_client_dials_or_where_alone_it_makes_sense() -> None:
    kinds = ("closed-port", "wrong-address", "forged-reset")
    where = {kind: vars(adhoc.fault(kind, {}, setting(), "test"))["at"] for kind in kinds}
    assert where == {"closed-port": "server", "wrong-address": "client", "forged-reset": "router"}
    elsewhere = setting(topology="dual-stack", target={"node": "server"})
    assert vars(adhoc.fault("drop", {"segment": "syn"}, elsewhere, "test"))["at"] == "server"


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("dorp", {}, r"unknown fault `dorp` \(did you mean 'drop'\?\)"),
        ("drop", {}, "drop.segment: `segment` is missing"),
        ("drop", {"segment": "sny"}, r"drop.segment: .* \(did you mean 'syn'\?\)"),
        ("drop", {"segment": "syn", "at": "servr"}, r"drop.at: no node `servr` .* \(did you mean 'server'\?\)"),
        ("drop", {"segment": "syn", "prot": 1}, r"unknown key `prot` \(did you mean 'port'\?\)"),
        ("wrong-address", {"at": "server"}, "wrong-address.at: the name is looked up at the client"),
        ("icmp", {"type": 3, "code": 300}, "icmp.code: "),
    ],
)
def test_a_fault_is_typed_as_in_a_file(kind: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        adhoc.fault(kind, parameters, setting(), "--fault x")
    assert all(problem.file == "--fault x" for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"topology": "client-servr"}, r"unknown topology `client-servr` \(did you mean 'client-server'\?\)"),
        ({"family": "v6"}, r"family: .* \(did you mean 'ipv6'\?\)"),
        ({"link": {"rtt": "20"}}, "link.rtt: expected a duration"),
        ({"listen": {"node": "sever"}}, r"listen: no node `sever` .* \(did you mean 'server'\?\)"),
    ],
)
def test_a_lab_is_typed_as_in_a_file(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        setting(**keys)


# -- the command


def executed(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of `connect-chaos exec`."""
    status = main(["exec", *argv])
    out, err = capfd.readouterr()
    return status, out, err


@needs_curl
@pytest.mark.slow("waits for the kernel's schedule of SYNs")
def test_a_dropped_syn_under_curl(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = executed(capfd, "--topology", "client-server", "--fault", "drop:segment=syn", "--", *CURL)
    assert (status, out) == (28, "")
    assert err.startswith("curl: (28) ")
    assert "connect-chaos: on the wire at client: > syn x2\n" in err
    assert "connect-chaos: drop at server: 2 hits, proven\n" in err
    assert "which the packets make ETIMEDOUT" in err


@needs_curl
@pytest.mark.slow("runs a lab")
def test_a_refusal_over_ipv6(capfd: pytest.CaptureFixture[str]) -> None:
    argv = ["--fault", "closed-port", "--rtt", "20ms", "--family", "ipv6", "--json", "--", *CURL]
    status, _, err = executed(capfd, *argv)
    told = json.loads(err.splitlines()[-1])
    assert (status, told["exit"], told["verdict"], told["wire"]) == (7, 7, "PASS", ["> syn", "< rst"])
    assert (told["faults"], told["outcome"]["error"]) == ([{"kind": "closed-port", "hits": 1}], "ECONNREFUSED")
    assert told["outcome"]["elapsed_s"] >= 0.02


@needs_curl
@pytest.mark.slow("runs a lab")
def test_a_healthy_network_answers(capfd: pytest.CaptureFixture[str]) -> None:
    status, _, err = executed(capfd, "--quiet", "--", *CURL)
    assert (status, err) == (0, "")


@pytest.mark.slow("runs a lab")
def test_a_fault_that_touched_nothing_is_said_and_the_status_stays(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = executed(capfd, "--quiet", "--fault", "drop:segment=syn", "--", "sh", "-c", "echo done; exit 5")
    assert (status, out) == (5, "done\n")
    assert "connect-chaos: drop at server: 0 hits, so it touched nothing\n" in err
    assert "connect-chaos: INVALID: drop at server: 0 hits" in err


@pytest.mark.slow("runs a lab")
def test_the_command_runs_once_where_we_are_with_its_own_arguments(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("http_proxy", "http://example.invalid")
    script = 'echo once >> runs; echo "$@" "<$http_proxy>" $(pwd)'
    status, out, _ = executed(capfd, "--quiet", "--", "sh", "-c", script, "sh", "--", "-x", "--json")
    assert (status, out) == (0, f"-- -x --json <> {tmp_path}\n")
    assert (tmp_path / "runs").read_text() == "once\n"


@pytest.mark.slow("runs a lab")
def test_output_is_passed_on_whole_and_unchanged() -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096); sys.stderr.write('e' * 300_000)"
    whole = subprocess.run(
        [sys.executable, "-m", "chaos", "exec", "--quiet", "--", sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert whole.returncode == 0
    assert whole.stdout == bytes(range(256)) * 4096
    assert whole.stderr == b"e" * 300_000


@pytest.mark.slow("starts an interpreter and a lab")
def test_standard_input_is_the_commands_own() -> None:
    argv = [sys.executable, "-m", "chaos", "exec", "--quiet", "--", "sort"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, input="b\na\n", capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\nb\n", "")


@pytest.mark.slow("runs a lab")
def test_a_signal_is_a_status_above_128(capfd: pytest.CaptureFixture[str]) -> None:
    status, _, err = executed(capfd, "--", "sh", "-c", "kill -TERM $$")
    assert status == 128 + 15
    assert "connect-chaos: ended by signal 15 after " in err


@pytest.mark.slow("runs a lab")
def test_nothing_of_the_command_survives(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status, _, _ = executed(capfd, "--quiet", "--", "sh", "-c", f"exec 9>{pipe}; setsid sleep 1000 & exit 0")
        assert status == 0
        assert os.read(reader, 1) == b"", "somebody still has the pipe open"
    finally:
        os.close(reader)


@pytest.mark.slow("runs a lab")
def test_a_program_that_is_not_there_is_a_broken_environment(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = executed(capfd, "--", "chaos-has-no-such-program")
    assert (status, out) == (3, "")
    assert err == (
        "connect-chaos: chaos-has-no-such-program: not found; "
        "install it with: apt-get install chaos-has-no-such-program\n"
    )


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--fault", "drop:segment=sny"], "--fault drop:segment=sny: drop.segment: "),
        (["--node", "clinet"], "the client's node: no node `clinet` in the topology (did you mean 'client'?)"),
        (["--port", "0"], "listen.port: expected a port from 1 to 65535"),
        (["--speaks", "ftp"], "listen.speaks: expected 'echo' or 'http'"),
        (["--timing", "quick"], "timing: expected "),
    ],
)
def test_bad_input_is_exit_status_2(argv: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = executed(capfd, *argv, "--", "true")
    assert (status, out) == (2, "")
    assert text in err


@pytest.mark.slow("runs a lab")
def test_a_folder_of_path_that_may_not_be_searched_hides_nothing(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """execvp(3) gives EACCES for it; a file in place of the folder gives ENOTDIR, also to root."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path / 'file'}:{os.environ['PATH']}")
    assert executed(capfd, "--quiet", "--", "true")[0] == 0
    status, _, err = executed(capfd, "--", "chaos-has-no-such-program")
    assert status == 3
    assert "not found; install it with" in err
