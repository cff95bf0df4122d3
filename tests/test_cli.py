"""The command `connect-chaos`: what it prints, its exit status, and what `run`, `validate`, `show` and `clean` do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import pcapng, selection, sessions
from chaos.backends.netns import BOOT, Netns
from chaos.cli import main
from chaos.errors import ScenarioError
from chaos.packets import decode
from tests import samples
from tests.load import worked
from tests.source import ROOT

HEALTHY = "client: {use: socket}\nexpect: {error: ok}\n"
REFUSED = "faults: [{closed-port: {at: server}}]\nexpect: {error: ECONNREFUSED}\n"
FAILS = "faults: [{closed-port: {at: server}}]\nexpect: {error: ETIMEDOUT}\n"
UNPROVEN = "faults: [{drop: {at: server, segment: syn, port: 9}}]\nexpect: {error: ok}\n"
MISSING = "client: {command: [chaos-has-no-such-program]}\nexpect: {error: ok}\n"
NOBODY_HOME = 2**22 - 2
"""A pid that cannot be in use: above every kernel.pid_max that a machine starts with."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a folder of its own, in which artefacts may appear."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)


def scenario(text: str, name: str = "case") -> str:
    file = Path(f"{name}.chaos.yaml")
    file.write_text(text)
    return str(file)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of a command."""
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


# -- validate, list, schema, plan, explain


@pytest.fixture
def _no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(self: Netns) -> Netns:
        raise AssertionError("a lab was started")

    monkeypatch.setattr(Netns, "__enter__", enter)


@pytest.mark.usefixtures("_no_lab")
def test_validate_says_everything_that_is_wrong_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    first = scenario("faults: [{drop: {at: server, segmnt: syn}}]\nexpect: {error: ETIMEOUT}\n", "first")
    second = scenario("topologie: client-server\nexpect: {error: ok}\n", "second")
    main(["validate", first])  # imports are not work
    wrong = ("validate", first, second, "third.chaos.yaml")
    assert worked(lambda: main([*wrong])) < 0.1
    capsys.readouterr()
    status, out, _ = said(capsys, *wrong)
    assert status == 2
    assert "first.chaos.yaml:1:" in out
    assert "(did you mean 'segment'?)" in out
    assert "first.chaos.yaml:2:17: " in out
    assert "(did you mean 'ETIMEDOUT'?)" in out
    assert "second.chaos.yaml:1:1: unknown key `topologie` (did you mean 'topology'?)" in out
    assert "third.chaos.yaml: no such file or directory" in out


@pytest.mark.usefixtures("_no_lab")
def test_validate_tells_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "validate", "--json", scenario("expect: {eror: ok}\n"))
    problem = json.loads(out)
    assert (status, problem["file"], problem["line"], problem["column"]) == (2, "case.chaos.yaml", 1, 10)
    assert "did you mean 'error'" in problem["message"]


@pytest.mark.usefixtures("_no_lab")
def test_validate_finds_nothing_wrong_with_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "validate", str(ROOT / "scenarios"))
    assert (status, out.split(":")[0]) == (0, "nothing wrong")


@pytest.mark.usefixtures("_no_lab")
def test_every_command_that_reads_a_file_refuses_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = scenario("expect: {eror: ok}\n")
    for command in ("run", "list", "plan", "explain"):
        status, out, err = said(capsys, command, wrong)
        assert (command, status, out) == (command, 2, "")
        assert "case.chaos.yaml:1:10: unknown key `eror` (did you mean 'error'?)" in err


def test_list_shows_faults_client_and_expectation(capsys: pytest.CaptureFixture[str]) -> None:
    file = scenario("cases: {a: {}, b: {client: {command: [curl, '{url}']}}}\n" + REFUSED)
    status, out, _ = said(capsys, "list", file)
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines()[1:]] == [f"{file}::a", f"{file}::b"]
    assert "closed-port at server" in out
    assert "command curl" in out
    assert "ECONNREFUSED" in out


def test_list_as_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    file = scenario("matrix: {family: [ipv4, ipv6]}\n" + REFUSED)
    status, out, _ = said(capsys, "list", "--json", f"{file}::ipv6")
    told = json.loads(out)
    assert (status, told["id"], told["family"]) == (0, f"{file}::ipv6", "ipv6")
    assert (told["faults"], told["expect"]) == ([{"kind": "closed-port", "at": "server"}], {"error": "ECONNREFUSED"})


def test_a_case_that_is_not_there_has_a_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(capsys, "list", scenario(HEALTHY) + "::defualt")
    assert (status, err) == (2, "case.chaos.yaml: no case `defualt` (did you mean 'default'?)\n")


def test_a_folder_gives_its_files_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("scenarios/b", "scenarios/a/x", "scenarios/.hidden/y"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        scenario(HEALTHY, name)
    (Path("scenarios") / "other.yaml").write_text("no: scenario\n")
    status, out, _ = said(capsys, "list")
    found = [line.split("::")[0] for line in out.splitlines()[1:]]
    assert (status, found) == (0, ["scenarios/a/x.chaos.yaml", "scenarios/b.chaos.yaml"])


def test_a_folder_without_scenarios_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(capsys, "run", ".")
    assert (status, err) == (2, ".: no .chaos.yaml file in this folder\n")


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "schema")
    assert (status, json.loads(out)["$schema"]) == (0, "http://json-schema.org/draft-07/schema#")


@pytest.mark.parametrize("command", ["plan", "explain"])
def test_plan_and_explain_tell_each_case(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = scenario("matrix: {family: [ipv4, ipv6]}\n" + REFUSED)
    status, out, _ = said(capsys, command, file)
    assert status == 0
    assert f"# {file}::ipv4\n" in out
    assert f"# {file}::ipv6\n" in out
    status, out, _ = said(capsys, command, "--json", f"{file}::ipv6")
    assert (status, json.loads(out)["id"]) == (0, f"{file}::ipv6")
    assert json.loads(out)[command]


# -- run


@pytest.mark.slow("runs a case")
def test_run_prints_a_case_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "run", "--json", "--artifacts", "never", scenario(REFUSED))
    told = json.loads(out)
    assert status == 0
    assert list(told) == [
        *("id", "file", "case", "verdict", "reasons", "outcome", "faults", "lookups", "wire", "states", "kernel"),
        *("timing", "backend", "artifacts"),
    ]
    assert (told["id"], told["verdict"], told["backend"]) == ("case.chaos.yaml::default", "PASS", "netns")
    assert (told["wire"], told["faults"]) == (["> syn", "< rst"], [{"kind": "closed-port", "hits": 1}])
    assert told["outcome"]["error"] == "ECONNREFUSED"


@pytest.mark.slow("runs cases")
def test_the_exit_status_is_that_of_the_worst_case(capsys: pytest.CaptureFixture[str]) -> None:
    passes, fails, unproven = scenario(REFUSED, "a"), scenario(FAILS, "b"), scenario(UNPROVEN, "c")
    assert said(capsys, "run", passes)[0] == 0
    status, out, _ = said(capsys, "run", passes, unproven)
    assert status == 3
    assert "INVALID c.chaos.yaml::default" in out
    status, out, _ = said(capsys, "run", passes, fails, unproven)
    assert status == 1
    assert "b.chaos.yaml:2: error: expected ETIMEDOUT, got ECONNREFUSED" in out
    assert "1 PASS, 1 FAIL, 1 INVALID in " in out
    verdict = json.loads(Path("chaos-artifacts/b--default/verdict.json").read_text())
    assert verdict["verdict"] == "FAIL"


@pytest.mark.slow("runs two cases")
def test_a_known_defect_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    known = scenario("xfail: a known defect\n" + FAILS, "known")
    mended = scenario("xfail: a known defect\n" + REFUSED, "mended")
    status, out, _ = said(capsys, "run", known, mended)
    assert status == 1
    assert "XFAIL   known.chaos.yaml::default" in out
    assert "passed, but is known to fail: a known defect" in out


@pytest.mark.slow("runs two cases")
def test_a_missing_program_is_a_skip_unless_strict(capsys: pytest.CaptureFixture[str]) -> None:
    file = scenario(MISSING)
    status, out, _ = said(capsys, "run", file)
    assert status == 0
    assert "SKIP    case.chaos.yaml::default: chaos-has-no-such-program: not found; install it with: " in out
    status, out, _ = said(capsys, "run", "--strict", "--json", file)
    assert (status, json.loads(out)["verdict"]) == (3, "INVALID")


def test_what_containers_cannot_show_is_skipped_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    status, out, _ = said(capsys, "run", "--strict", "--backend", "docker", scenario("tags: [netns_only]\n" + REFUSED))
    assert status == 0
    assert "SKIP    case.chaos.yaml::default: tag netns_only: containers cannot show it (docs/docker.md)" in out


@pytest.mark.slow("runs a case")
def test_run_selects_by_words(capsys: pytest.CaptureFixture[str]) -> None:
    file = scenario("matrix: {family: [ipv4, ipv6]}\n" + REFUSED)
    status, out, _ = said(capsys, "run", "-k", "closed-port and not ipv6", file)
    assert (status, [line.split()[1] for line in out.splitlines()[:-1]]) == (0, [f"{file}::ipv4"])
    status, _, err = said(capsys, "run", "-k", "nothing", file)
    assert (status, err) == (2, "connect-chaos run: no case is selected\n")


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("refused", True),
        ("REFUSED and drop", False),
        ("drop or curl", True),
        ("not (drop or curl)", False),
        ("not drop and not udp", True),
        ("closed-port", True),
    ],
)
def test_expressions_mean_what_they_mean_to_pytest(expression: str, fits: bool) -> None:
    assert selection.parse(expression)(["refused/closed-port.chaos.yaml::curl", "command"]) is fits


@pytest.mark.parametrize("expression", ["", "and", "a b", "(a", "a)", "not", "a or", "( )"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ScenarioError, match="-k"):
        selection.parse(expression)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--jobs", "0"], "--jobs: expected `auto` or a number from 1, got `0`"),
        (["--backend", "nettns"], "unknown backend `nettns` (did you mean 'netns'?)"),
        (["-k", "a b"], "`b` stands where `and` or `or` is expected"),
    ],
)
def test_a_wrong_option_is_bad_input(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(capsys, "run", *argv, scenario(HEALTHY))
    assert status == 2
    assert text in err


@pytest.mark.parametrize("argv", [[], ["rnu"], ["run", "--artefacts"], ["exec"]])
def test_wrong_arguments_are_bad_input(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for command in ("run", "validate", "list", "plan", "explain", "doctor", "show", "schema", "clean", "exec"):
        assert f"\n    {command} " in out


def command_line(*argv: str) -> subprocess.Popen[str]:
    whole = [sys.executable, "-m", "chaos", *argv]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.slow("starts an interpreter and a session")
def test_an_interrupt_ends_it_and_leaves_nothing() -> None:
    file = scenario("faults: [{drop: {at: server, segment: syn}}]\ntiming: real\nexpect: {error: ETIMEDOUT}\n")
    process = command_line("run", file)
    deadline = time.monotonic() + 20
    while not any(one.owner == process.pid and len(one.pids) > 2 for one in sessions.found().values()):
        assert time.monotonic() < deadline, "no lab was started"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")
    assert [one for one in sessions.found().values() if one.owner == process.pid] == []
    assert [path.name for path in Path().iterdir()] == [file], "a case that was cut short leaves no artefacts"


@pytest.mark.slow("starts an interpreter")
def test_a_reader_who_goes_away_is_no_traceback() -> None:
    process = command_line("schema")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), err) == (3, "")


# -- show


@pytest.mark.slow("runs a case")
def test_show_decodes_what_a_run_left(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--artifacts", "always", scenario(REFUSED)])
    capsys.readouterr()
    status, out, _ = said(capsys, "show", "chaos-artifacts/case--default")
    assert status == 0
    assert "PASS case.chaos.yaml::default (netns, short)" in out
    assert "the attempt on the wire: > syn, < rst" in out
    assert "packets at client, all legs:" in out
    assert "> syn      [SYN] seq=0 len=0" in out
    status, out, _ = said(capsys, "show", "--json", "--node", "server", "chaos-artifacts/case--default/packets.pcapng")
    packets = json.loads(out)["packets"]
    assert (status, list(packets), packets["server"][0]["segment"]) == (0, ["server"], "syn")


@pytest.mark.slow("runs a case")
def test_show_gives_the_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", scenario(FAILS)])
    capsys.readouterr()
    status, out, _ = said(capsys, "show", "chaos-artifacts/case--default/verdict.json")
    assert status == 0
    assert "FAIL case.chaos.yaml::default" in out
    assert "  error: expected ETIMEDOUT, got ECONNREFUSED" in out
    assert "ConnectionRefusedError" in out


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("missing.pcapng", None, "missing.pcapng: no such file or directory"),
        ("other.pcapng", b"not a capture at all", "other.pcapng: cannot be read: not a little-endian pcapng file"),
        ("cut.pcapng", pcapng.dumps({"client": samples.frames()})[:-10], "cut.pcapng: cannot be read: "),
        ("verdict.json", b"{", "verdict.json: not JSON: "),
        ("list.json", b"[]", "list.json: not a verdict of connect-chaos"),
        ("missing.json", None, "missing.json: no such file or directory"),
        (".", None, ".: neither verdict.json nor packets.pcapng is in this folder"),
    ],
)
def test_show_refuses_what_it_cannot_read(
    name: str, content: bytes | None, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    status, _, err = said(capsys, "show", name)
    assert status == 2
    assert text in err


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark: not found; install it with: apt-get install tshark")
@pytest.mark.slow("tshark takes its time to start")
def test_what_is_read_back_is_what_tshark_reads() -> None:
    path = Path("packets.pcapng")
    whole = [frame for frame in samples.frames() if frame.data[20] != 44]  # tshark waits for the other fragments
    pcapng.write(path, {"client": whole})
    fields = ("tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.flags")
    argv = ["tshark", "-n", "-r", str(path), "-Y", "tcp && !icmp && !icmpv6", "-T", "fields", "-E", "separator=,"]
    done = subprocess.run(
        [*argv, *(part for field in fields for part in ("-e", field))], check=True, capture_output=True, text=True
    )
    theirs = [tuple(int(word, 0) for word in line.split(",")) for line in done.stdout.splitlines() if line.strip(",")]
    bits = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    read = [decode(frame) for frame in pcapng.loads(path.read_bytes())["client"]]
    ours = [
        (packet.sport, packet.dport, packet.seq, sum(1 << bits.index(flag) for flag in packet.flags))
        for packet in read
        if packet is not None and packet.protocol == "tcp"
    ]
    assert ours == theirs


# -- clean


@pytest.fixture
def leftover() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the line of a session whose owner is dead."""
    program = "import signal; print(flush=True); signal.pause() #" + BOOT
    argv = [sys.executable, "-I", "-S", "-c", program, "folder", "3", str(NOBODY_HOME)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process
        process.kill()


@pytest.mark.slow("starts a session")
def test_clean_ends_what_the_dead_left_and_nothing_else(
    leftover: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    with Netns():
        status, out, _ = said(capsys, "clean", "--dry-run")
        assert status == 0
        assert f"would end the session process {leftover.pid}, whose owner {NOBODY_HOME} is dead" in out
        assert leftover.poll() is None
        status, out, _ = said(capsys, "clean", "--json")
        assert status == 0
        assert {"pid": leftover.pid, "owner": NOBODY_HOME, "problem": None} in json.loads(out)["found"]
        assert leftover.wait(10) == -signal.SIGKILL
        mine = [one for one in sessions.found().values() if one.owner == os.getpid()]
        assert len(mine) >= 2
        assert not set(mine) & set(sessions.orphans(sessions.found()))


def test_a_pid_that_was_given_away_again_is_no_owner() -> None:
    ours = sessions.Process(pid=2, parent=1, began=0, owner=os.getpid(), pids=(2,))
    assert sessions.orphans({2: ours}) == [ours], "this process began after the session did"
    late = sessions.Process(pid=2, parent=1, began=2**62, owner=os.getpid(), pids=(2,))
    assert sessions.orphans({2: late}) == []


def test_only_a_zygote_without_a_keeper_is_left_over() -> None:
    keeper = sessions.Process(pid=10, parent=1, began=2**62, owner=os.getpid(), pids=(10,))
    zygote = sessions.Process(pid=11, parent=10, began=2**62, owner=os.getpid(), pids=(11, 1))
    lab = sessions.Process(pid=12, parent=11, began=2**62, owner=os.getpid(), pids=(12, 2, 1))
    assert sessions.orphans({10: keeper, 11: zygote, 12: lab}) == []
    assert sessions.orphans({11: zygote, 12: lab}) == [zygote]
