"""`pytest scenarios/` as its users meet it: collection, selection, reports, artefacts, and the end of a session.

Every test runs pytest in a project of its own, most of them in this process; the labs are real.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

import pytest

# Loaded before any test, or pytester would unload them after each one and leave halves behind.
import chaos.items
import chaos.live
import chaos.plan
import chaos.summary  # noqa: F401
from chaos import pcapng
from chaos.artifacts import NAMES, slug

pytestmark = pytest.mark.slow("runs pytest in a project of its own")

REFUSED = """\
# Nobody listens.
tags: [quick]
faults: [{closed-port: {at: server}}]
matrix: {family: [ipv4, ipv6]}
expect: {error: ECONNREFUSED, phase: connect}
"""
WRONG = """\
# What is expected is not what happens.
faults: [{closed-port: {at: server}}]
expect:
  error: ETIMEDOUT
  wire: ["> syn x2"]
"""
UNPROVEN = """\
# Nobody dials this port, so the fault touches nothing.
faults: [{drop: {at: server, segment: syn, port: 9}}]
expect: {error: ok}
"""
ENDLESS = """\
# Two minutes, and more.
timing: real
faults: [{drop: {at: server, segment: syn}}]
expect: {error: ETIMEDOUT}
"""
MISSING = "# No such program.\nclient: {command: [no-such-program]}\nexpect: {error: ok}\n"
BAD = "faults: [{dropp: {at: server}}]\nexpect: {error: ECONREFUSED}\nexpekt: {}\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project in which markers and warnings are as strict as they can be."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config -p no:anyio\nfilterwarnings = error\n")
    return pytester


def write(project: pytest.Pytester, **scenarios: str) -> None:
    """Scenarios of scenarios/a/, by name."""
    folder = project.path / "scenarios" / "a"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scenarios.items():
        (folder / f"{name}.chaos.yaml").write_text(text)


def started(project: pytest.Pytester, *arguments: str) -> subprocess.Popen[str]:
    """pytest, running beside us in the project."""
    argv = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(
        argv, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def below(pid: int) -> set[int]:
    """Every process that descends from this one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


# -- collection and selection


def test_items_have_ids_and_markers(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED)
    result = project.runpytest_inprocess("--collect-only", "-q", "scenarios")
    result.stdout.fnmatch_lines(
        ["scenarios/a/refused.chaos.yaml::ipv4", "scenarios/a/refused.chaos.yaml::ipv6", "2 tests collected*"]
    )
    items, _ = project.inline_genitems("scenarios")
    assert isinstance(items[0], pytest.Function)
    assert isinstance(items[0].parent, pytest.File)
    assert {mark.name for mark in items[0].iter_markers()} == {"closed-port", "socket", "netns", "quick"}


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["-m", "closed-port and quick"], 2),
        (["-m", "drop"], 0),
        (["-k", "ipv6"], 1),
        (["scenarios/a/refused.chaos.yaml::ipv4"], 1),
        (["-p", "no:xdist"], 2),
        (["-p", "no:terminal"], 2),
        (["-p", "no:capture", "--chaos-jobs=1"], 2),
    ],
)
def test_selection(project: pytest.Pytester, arguments: list[str], passed: int) -> None:
    write(project, refused=REFUSED)
    result = project.inline_run(*arguments)
    result.assertoutcome(passed=passed)


def test_bad_input_is_a_collection_error_with_every_problem(project: pytest.Pytester) -> None:
    write(project, bad=BAD, refused=REFUSED)
    result = project.runpytest_inprocess("--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "scenarios/a/bad.chaos.yaml:1:11: unknown fault `dropp` (did you mean 'drop'?)",
            "scenarios/a/bad.chaos.yaml:2:17: *ECONREFUSED* (did you mean 'ECONNREFUSED'?)",
            "scenarios/a/bad.chaos.yaml:3:1: unknown key `expekt` (did you mean 'expect'?)",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--chaos-backend=netnss",
            "*--chaos-backend: unknown backend `netnss` (did you mean 'netns'?); known: auto, docker, netns*",
        ),
        ("--chaos-jobs=0", "*--chaos-jobs: expected auto or a number from 1, got '0'*"),
        ("--chaos-artifacts=sometimes", "*--chaos-artifacts: invalid choice: 'sometimes'*"),
    ],
)
def test_wrong_options_are_usage_errors(project: pytest.Pytester, option: str, message: str) -> None:
    result = project.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


# -- reports


def test_a_pass_has_its_row(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED)
    result = project.runpytest_inprocess("--durations=3", "-vv")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines(
        [
            r"=+ connect-chaos =+$",
            r"scenario +client +expected +surfaced +verdict +time$",
            r"scenarios/a/refused\.chaos\.yaml::ipv4 +socket +ECONNREFUSED +ECONNREFUSED +PASS +\d\.\d\d s$",
            r"scenarios/a/refused\.chaos\.yaml::ipv6 +socket +ECONNREFUSED +ECONNREFUSED +PASS +\d\.\d\d s$",
            r"\d\.\d\ds call +scenarios/a/refused\.chaos\.yaml::ipv",
        ]
    )


def test_a_fail_is_f_and_says_all_in_thirty_lines(project: pytest.Pytester) -> None:
    write(project, wrong=WRONG)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.outlines
    shown = text[text.index("FAIL scenarios/a/wrong.chaos.yaml:2") :]
    shown = shown[: next(number for number, line in enumerate(shown) if line.startswith("===="))]
    assert len(shown) < 30
    result.stdout.fnmatch_lines(
        [
            "scenarios/a/wrong.chaos.yaml F *",
            "  scenarios/a/wrong.chaos.yaml:4: error: expected ETIMEDOUT, got ECONNREFUSED",
            "  scenarios/a/wrong.chaos.yaml:5: wire at client: *",
            "* > syn * seq=0 len=0",
            "* < rst * seq=0 ack=1 len=0",
            "artefacts: chaos-artifacts/a--wrong--default",
            "*ETIMEDOUT *ECONNREFUSED *FAIL *",
            "FAILED scenarios/a/wrong.chaos.yaml::default - error: expected ETIMEDOUT, got ECONNREFUSED",
        ]
    )


def test_invalid_is_e(project: pytest.Pytester) -> None:
    write(project, unproven=UNPROVEN)
    result = project.runpytest_inprocess("--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "scenarios/a/unproven.chaos.yaml E *",
            "INVALID scenarios/a/unproven.chaos.yaml:2",
            "  scenarios/a/unproven.chaos.yaml:2: drop at server: 0 hits*",
            "ERROR scenarios/a/unproven.chaos.yaml::default - drop at server: 0 hits*",
        ]
    )
    result.stdout.no_fnmatch_line("*.py:*")
    suite = ET.parse(project.path / "junit.xml").getroot()[0]
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


def test_a_known_defect_is_xfail_strictly_and_never_an_invalid(project: pytest.Pytester) -> None:
    known = "xfail: a known defect\n"
    write(project, expected=WRONG + known, mended=REFUSED + known, unproven=UNPROVEN + known)
    result = project.runpytest_inprocess("-rxE")
    result.assert_outcomes(xfailed=1, failed=2, errors=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)* a known defect", "XFAIL scenarios/a/expected*- a known defect"])
    result.stdout.re_match_lines([r".*FAIL \(xfail\)"])


def test_junitxml_has_the_properties(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED, wrong=WRONG)
    project.runpytest_inprocess("--junitxml=junit.xml")
    cases = {case.get("classname"): case for case in ET.parse(project.path / "junit.xml").iter("testcase")}
    said = {
        name: {each.get("name"): each.get("value") for each in case.iter("property")} for name, case in cases.items()
    }
    common = {"error": "ECONNREFUSED", "phase": "connect"}
    assert said["scenarios.a.refused.chaos.yaml"] == {**common, "verdict": "PASS"}
    folder = "chaos-artifacts/a--wrong--default"
    assert said["scenarios.a.wrong.chaos.yaml"] == {**common, "verdict": "FAIL", "artifacts": folder}


def test_a_missing_tool_is_a_skip_unless_strict(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, missing=MISSING)
    result = project.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    told = "no-such-program: not found; install it with: apt-get install no-such-program"
    result.stdout.fnmatch_lines([f"SKIPPED * scenarios/a/missing.chaos.yaml:2: {told}"])
    project.runpytest_inprocess("--chaos-strict").assert_outcomes(errors=1)
    monkeypatch.setenv("CI", "true")
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"scenarios/a/missing.chaos.yaml:2: {told}"])


def test_what_containers_cannot_show_is_skipped_there_and_no_engine_is_needed_for_it(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    write(project, here=REFUSED.replace("[quick]", "[netns_only]"))
    result = project.runpytest_inprocess("--chaos-backend=docker", "--chaos-strict", "-rs")
    result.assert_outcomes(skipped=2)
    told = "tag netns_only: containers cannot show it (docs/docker.md)"
    result.stdout.fnmatch_lines([f"SKIPPED *scenarios/a/here.chaos.yaml:*{told}"])
    project.runpytest_inprocess("--chaos-strict").assert_outcomes(passed=2)


def test_fixtures_of_the_project_apply(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED)
    project.makeconftest(
        """
        import pytest
        seen = []
        @pytest.fixture(autouse=True)
        def mine(request):
            seen.append(request.node.name)
            yield
            seen.append(request.node.name)
        def pytest_unconfigure():
            assert seen == ["ipv4", "ipv4", "ipv6", "ipv6"]
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_last_failed_runs_what_failed(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED, wrong=WRONG, unproven=UNPROVEN)
    project.runpytest_inprocess().assert_outcomes(passed=2, failed=1, errors=1)
    project.runpytest_inprocess("--lf").assert_outcomes(failed=1, errors=1)


def test_two_workers(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED, wrong=WRONG, unproven=UNPROVEN, alone=REFUSED + "exclusive: true\n")
    result = project.runpytest_subprocess("-n", "2", "--junitxml=junit.xml")
    result.assert_outcomes(passed=4, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*= connect-chaos =*", "*alone*PASS*", "*refused*PASS*", "*unproven*INVALID*", "*wrong*FAIL*"]
    )
    assert {"a--wrong--default", "a--unproven--default"} == {
        folder.name for folder in (project.path / "chaos-artifacts").iterdir()
    }


def test_a_worker_runs_its_share_side_by_side(project: pytest.Pytester) -> None:
    """One after the other they would wait for 36 s in each worker, which pytest-xdist tells of three at first."""
    waits = "faults: [{drop: {at: server, segment: syn}}]\nexpect: {error: ETIMEDOUT}\n"
    write(project, **{f"t{number:02}": waits for number in range(24)})
    project.makepyfile("def test_theirs(): pass")
    result = project.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=25)
    assert result.duration < 36


# -- artefacts


def test_artefacts_of_a_failure(project: pytest.Pytester) -> None:
    write(project, wrong=WRONG, refused=REFUSED)
    project.runpytest_inprocess()
    folder = project.path / "chaos-artifacts"
    assert [each.name for each in folder.iterdir()] == ["a--wrong--default"]
    folder /= "a--wrong--default"
    assert {file.name for file in folder.iterdir()} == set(NAMES)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["id"] == "scenarios/a/wrong.chaos.yaml::default"
    assert verdict["verdict"] == "FAIL"
    assert verdict["wire"] == ["> syn", "< rst"]
    assert verdict["artifacts"] == "chaos-artifacts/a--wrong--default"
    assert set(pcapng.loads((folder / "packets.pcapng").read_bytes())) == {"client", "server"}
    assert "ip netns" in (folder / "plan.txt").read_text()


def test_artefacts_of_a_case_that_passes_now_are_removed(project: pytest.Pytester) -> None:
    write(project, wrong=WRONG)
    project.runpytest_inprocess()
    write(project, wrong="faults: [{closed-port: {at: server}}]\nexpect: {error: ECONNREFUSED}\n")
    project.runpytest_inprocess().assert_outcomes(passed=1)
    assert list((project.path / "chaos-artifacts").iterdir()) == []


def test_artefacts_always_and_never(project: pytest.Pytester) -> None:
    write(project, wrong=WRONG, refused=REFUSED)
    project.runpytest_inprocess("--chaos-artifacts=never")
    assert not (project.path / "chaos-artifacts").exists()
    project.runpytest_inprocess("--chaos-artifacts=always")
    assert len(list((project.path / "chaos-artifacts").iterdir())) == 3


def test_a_full_disk_is_told_and_nothing_passes(project: pytest.Pytester) -> None:
    write(project, refused=REFUSED)
    folder = project.path / "chaos-artifacts" / "a--refused--ipv4"
    folder.mkdir(parents=True)
    (folder / "packets.pcapng").symlink_to("/dev/full")
    result = project.runpytest_inprocess("--chaos-artifacts=always")
    result.assert_outcomes(errors=1, passed=1)
    place = "chaos-artifacts/a--refused--ipv4/packets.pcapng"
    result.stdout.fnmatch_lines([f"*: artefacts: {place} cannot be written: No space left on device"])


def test_slugs_are_readable_and_differ() -> None:
    assert slug("scenarios/refused/closed-port.chaos.yaml::curl") == "refused--closed-port--curl"
    ids = ["a/b.chaos.yaml::c", "a--b.chaos.yaml::c", "/a/b.chaos.yaml::c", "é/b.chaos.yaml::c", "è/b.chaos.yaml::c"]
    ids += [f"{'x' * 300}/{name}.chaos.yaml::c" for name in "ab"]
    slugs = {slug(each) for each in ids}
    assert len(slugs) == len(ids)
    assert all(len(each) < 200 and "/" not in each for each in slugs)


# -- the end


def test_the_first_failure_ends_what_still_runs(project: pytest.Pytester) -> None:
    write(project, a=WRONG, b=ENDLESS)
    before = below(os.getpid())
    result = project.runpytest_inprocess("-x")
    result.assert_outcomes(failed=1)
    assert below(os.getpid()) == before
    assert [each.name for each in (project.path / "chaos-artifacts").iterdir()] == ["a--a--default"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, pytest.ExitCode.INTERRUPTED), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_ends_the_labs_and_runs_the_finalizers(
    project: pytest.Pytester, number: signal.Signals, status: int, group: bool
) -> None:
    write(project, endless=ENDLESS)
    project.makeconftest("def pytest_unconfigure():\n    print('finalized')\n")
    running = started(project)
    pidfds = with_a_lab(running)
    (os.killpg if group else os.kill)(running.pid, number)
    told, _ = running.communicate(timeout=30)
    assert running.returncode == status, told
    assert "finalized" in told
    assert "Traceback" not in told
    assert not (project.path / "chaos-artifacts").exists()
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 1.0)[0]
        os.close(pidfd)


def with_a_lab(running: subprocess.Popen[str]) -> list[int]:
    """Descriptors of the processes of a session, when it has a lab: the keeper, the zygote, the lab's own."""
    while True:
        assert running.poll() is None
        with suppress(OSError):  # one that was there for another to be forked has ended
            found = below(running.pid)
            if "lab" in [(Path("/proc") / str(pid) / "comm").read_text().strip() for pid in found]:
                return [os.pidfd_open(pid) for pid in found]


def test_a_terminal_is_told_what_is_waited_for(project: pytest.Pytester) -> None:
    write(project, slow="faults: [{drop: {at: server, segment: syn}}]\nexpect: {error: ETIMEDOUT}\n", refused=REFUSED)
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "pytest", "-v"]
    with subprocess.Popen(argv, cwd=project.path, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        told = b""
        try:
            while data := os.read(ours, 4096):
                told += data
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert b"\rwaiting: 1 of 3 cases, longest a/slow 2." in told
    assert b"3 passed" in told


def test_nothing_is_told_elsewhere(project: pytest.Pytester) -> None:
    write(project, slow="faults: [{drop: {at: server, segment: syn}}]\nexpect: {error: ETIMEDOUT}\n")
    result = project.runpytest_subprocess()
    result.stdout.no_fnmatch_line("*waiting:*")
