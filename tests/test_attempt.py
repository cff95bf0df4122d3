"""The `attempt` operation: what a program did, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chaos.agent import attempt, descendants
from tests.forked import forked
from tests.loaded import attempted, calling

LEAVES_ORPHANS = """
import os, sys, time
def leave(depth):
    if os.fork() == 0:
        os.setsid()
        if depth:
            leave(depth - 1)
            os._exit(0)
        with open(sys.argv[1], "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(3600)
leave(0)
leave(1)
leave(2)
while len(open(sys.argv[1]).readlines() if os.path.exists(sys.argv[1]) else []) < 3:
    time.sleep(0.005)
if sys.argv[2] == "hang":
    time.sleep(3600)
"""


def run(*argv: str, deadline: float = 10.0, **given: Any) -> dict[str, Any]:
    """What an attempt in a process of its own returns, as an agent makes it."""
    result: dict[str, Any] = forked(lambda: attempt.attempt({"argv": argv, "deadline": deadline, **given}))
    return result


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_program_that_ends() -> None:
    before = time.time_ns()
    result = run("sh", "-c", "echo said; echo complained >&2; exit 3")
    assert before <= result.pop("started_ns") <= result.pop("returned_ns") <= time.time_ns()
    assert result == {
        "exit": 3, "signal": None, "stdout": "said\n", "stderr": "complained\n", "hung": False, "report": None,
    }  # fmt: skip


def test_a_program_that_is_killed() -> None:
    result = run("sh", "-c", "kill -SEGV $$")
    assert (result["exit"], result["signal"], result["hung"]) == (None, signal.SIGSEGV, False)


def test_a_program_that_hangs_is_killed_at_its_deadline() -> None:
    result = run("sh", "-c", "echo before; sleep 3600", deadline=0.05)
    assert (result["exit"], result["signal"], result["hung"]) == (None, signal.SIGKILL, True)
    assert result["stdout"] == "before\n"
    assert result["returned_ns"] - result["started_ns"] >= 50_000_000


@pytest.mark.parametrize(
    "ending", [pytest.param("hang", marks=pytest.mark.slow("a deadline that lets three orphans start")), "exit"]
)
def test_its_descendants_are_killed_wherever_they_hide(ending: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    deadline = 1.0 if ending == "hang" else 10.0
    result = run(sys.executable, "-I", "-S", "-c", LEAVES_ORPHANS, str(pids), ending, deadline=deadline)
    assert result["hung"] == (ending == "hang"), result
    left = [int(line) for line in pids.read_text().split()]
    assert len(left) == 3
    assert [pid for pid in left if alive(pid)] == []


def test_others_of_the_callers_children_are_left_alone() -> None:
    def both() -> bool:
        bystander = os.fork()
        if bystander == 0:
            signal.pause()
        attempt.attempt({"argv": ["true"], "deadline": 10.0})
        still_there = os.waitpid(bystander, os.WNOHANG) == (0, 0)
        return still_there and descendants.end() == []

    assert forked(both)


def test_a_missing_program_is_named() -> None:
    assert run("no-such-program-here") == {"missing": "no-such-program-here", "errno": "ENOENT"}


def test_what_is_no_program_says_why(tmp_path: Path) -> None:
    assert run(str(tmp_path)) == {"missing": str(tmp_path), "errno": "EACCES"}


@pytest.mark.slow("a megabyte goes through a pipe")
def test_of_much_output_both_ends_are_kept() -> None:
    result = run("sh", "-c", "echo first; yes | head -c 1000000; echo last")
    assert len(result["stdout"]) < attempt.KEPT + 100
    assert result["stdout"].startswith("first\ny\n")
    assert result["stdout"].endswith("y\nlast\n")
    assert f"[... {1_000_011 - attempt.KEPT} bytes left out ...]" in result["stdout"]


def test_endless_output_ends_at_the_deadline() -> None:
    assert run("yes", deadline=0.05)["hung"]


def test_output_of_no_encoding() -> None:
    assert run("printf", r"\377ok")["stdout"] == "\N{REPLACEMENT CHARACTER}ok"


def test_it_has_a_session_of_its_own_and_no_standard_input() -> None:
    result = run("sh", "-c", "cut -d' ' -f1,6 /proc/$$/stat; cat")
    pid, session = result["stdout"].split()
    assert pid == session


def test_it_starts_where_it_was_told_to(tmp_path: Path) -> None:
    assert run("pwd", directory=str(tmp_path))["stdout"] == f"{tmp_path}\n"
    assert run("true", directory=str(tmp_path / "not-there"))["exit"] == 0


def test_it_inherits_no_descriptor() -> None:
    with os.fdopen(os.dup(2)) as kept:
        os.set_inheritable(kept.fileno(), True)
        assert run("sh", "-c", f"test ! -e /proc/self/fd/{kept.fileno()}")["exit"] == 0


def test_proxies_are_scrubbed_and_messages_are_english() -> None:
    given = {"http_proxy": "1", "HTTPS_PROXY": "2", "No_Proxy": "3", "npm_config_proxy": "4", "PATH": "/bin"}
    given |= {"LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"}
    expected = {"PATH": "/bin", "LANG": "de_DE.UTF-8", "LC_CTYPE": "de_DE.UTF-8", "LC_MESSAGES": "C"}
    assert attempt.environment(given) == expected


def test_the_environment_reaches_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    assert "proxy" not in run("env")["stdout"].lower()


def python(code: str, deadline: float = 10.0) -> dict[str, Any]:
    """An attempt by a Python client with this text."""
    return attempted(calling(code, deadline))


def test_the_report_of_a_function_and_its_own_times() -> None:
    result = python("import time\ndef call(target):\n    print('said')\n    return time.time_ns()")
    report = result["report"]
    assert (report["error"], result["stdout"], result["exit"]) == ("ok", "said\n", 0)
    assert (result["started_ns"], result["returned_ns"]) == (report["started_ns"], report["returned_ns"])
    assert result["started_ns"] <= int(report["code"]) <= result["returned_ns"]


@pytest.mark.slow("waits for a deadline that lets the interpreter start")
def test_a_function_that_hangs() -> None:
    result = python("import time\ndef call(target):\n    time.sleep(3600)", deadline=0.3)
    assert (result["hung"], result["report"]) == (True, None)


def test_a_function_that_ends_its_process() -> None:
    result = python("import os\ndef call(target):\n    os._exit(4)")
    assert (result["exit"], result["report"]) == (4, None)


def test_a_long_chain_fits() -> None:
    code = "def call(target):\n    raise ExceptionGroup('all', [OSError(111, '\\u2028' * 99999) for _ in range(99)])"
    report = python(code)["report"]
    assert report["error"] == "ECONNREFUSED"
    assert len(json.dumps(report)) > 1 << 17
