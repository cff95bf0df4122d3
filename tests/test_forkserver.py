"""A Python client is a fork of an interpreter that has its library loaded, and cannot tell it from a new one."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmarks.measure import descendants
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.backends.processes import SPARE
from chaos.model import Setting
from tests.deaths import lab_process
from tests.labs import TOPOLOGY, lab, session
from tests.loaded import calling

__all__ = ["lab", "session"]
pytestmark = pytest.mark.slow("interpreters are started")

WHERE = """
import os
def call(target):
    print(os.uname().nodename, os.getppid(), *(os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "pid")))
    return True
"""
INTERPRETER = """
import json, sys
def call(target):
    print(json.dumps([sorted(sys.modules), sys.path, sys.argv, sys.flags.no_site]))
    return True
"""
ORPHAN = """
import os, time
def call(target):
    if os.fork() == 0:
        os.setsid()
        time.sleep(3600)
    return True
"""
PROCESSORS = """
import os
def call(target):
    print(*os.sched_getaffinity(0))
    return True
"""
IPV6 = "import urllib3.util.connection as it\ndef call(target):\n    print(it.HAS_IPV6)\n    return True"
HANGS = "import time\ndef call(target):\n    print('hanging', flush=True)\n    time.sleep(3600)"
ENDS, SOON = 5.0, 1.0
"""Seconds; an orphan would sleep for an hour."""


def said(lab: AgentLab, code: str, *libraries: str) -> str:
    """What a client of the node `client` prints."""
    result = lab.nodes["client"].start("attempt", job=calling(code, ENDS), libraries=[*libraries]).next(2 * ENDS)
    assert (result["exit"], result["report"]["error"]) == (0, "ok"), result
    return str(result["stdout"])


def forkservers() -> set[int]:
    """Those of this process's sessions, which are processes of their zygotes."""
    return {pid for pid in descendants(os.getpid()) if comm(pid) == "forkserver"}


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def in_lab(lab: AgentLab) -> list[str]:
    """The names of all processes of the lab's pid namespace, but for who asks."""
    lines = lab.nodes["client"].call("command", argv=["sh", "-c", "cat /proc/[0-9]*/stat 2> /dev/null; :"]).splitlines()
    found = [(line.partition("(")[2].partition(")")[0], line.rpartition(") ")[2][0]) for line in lines]
    return sorted(name for name, state in found if state != "Z" and name not in ("sh", "cat"))


def test_it_is_in_the_namespaces_of_its_node_and_its_name_is_the_hosts(lab: AgentLab) -> None:
    name, _, *namespaces = said(lab, WHERE).split()
    argv = ["readlink", *(f"/proc/self/ns/{kind}" for kind in ("net", "mnt", "pid"))]
    assert namespaces == lab.nodes["client"].call("command", argv=argv).split()
    assert name == "client"


def test_it_has_the_modules_the_path_and_the_arguments_of_a_new_interpreter(lab: AgentLab) -> None:
    modules, path, argv, no_site = json.loads(said(lab, INTERPRETER, "netrc"))
    assert "netrc" in modules
    assert not [name for name in modules if name.startswith("chaos")]
    assert (argv, no_site) == (["-c"], 0)
    assert "" not in path
    assert len(path) == len(set(path))


def test_urllib3_finds_ipv6_where_it_is_loaded(lab: AgentLab) -> None:
    assert said(lab, IPV6, "requests", "netrc") == "True\n"


def test_a_client_runs_where_its_lab_does(lab: AgentLab) -> None:
    agents = os.sched_getaffinity(lab_process(lab.nodes["client"]))
    assert len(agents) == 1
    assert said(lab, PROCESSORS, "netrc") == f"{min(agents)}\n"


def test_one_serves_all_labs_of_a_session_and_one_that_has_died_is_replaced() -> None:
    before = forkservers()
    with Netns() as session, session.start(Setting(TOPOLOGY)) as one, session.start(Setting(TOPOLOGY)) as other:
        said(one, WHERE, "netrc")
        said(other, WHERE, "netrc")
        (pid,) = forkservers() - before
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        said(one, WHERE, "netrc")
        assert len(forkservers() - before) == 1
    assert forkservers() == before


def test_what_a_library_says_while_it_is_loaded_is_nobody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text("import sys\nprint('noise')\nprint('noise', file=sys.stderr)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Netns() as session, session.start(Setting(TOPOLOGY)) as lab:
        assert said(lab, "import noisy\ndef call(target):\n    print('heard')\n    return True", "noisy") == "heard\n"
    assert capfd.readouterr() == ("", "")


def gone(pid: int) -> None:
    ends = time.monotonic() + ENDS
    while comm(pid):
        assert time.monotonic() < ends


def test_what_a_client_leaves_is_ended_with_it_and_the_lab_s_process_serves_again() -> None:
    with Netns() as session:
        with session.start(Setting(TOPOLOGY)) as lab:
            first = lab_process(lab.nodes["client"])
            said(lab, ORPHAN)
            lab.wait(lambda: in_lab(lab) == ["lab"], "the attempt to end when it has told its result", SOON)
        later = []
        for _ in range(SPARE + 1):
            with session.start(Setting(TOPOLOGY)) as lab:
                later.append(lab_process(lab.nodes["client"]))
        assert first in later


def test_a_client_that_is_ended_in_the_middle_is_gone(lab: AgentLab) -> None:
    running = lab.nodes["client"].start("attempt", job=calling(HANGS, 60.0), libraries=[])
    lab.wait(lambda: in_lab(lab) == ["attempt", "lab", Path(sys.executable).name], "the client to begin", ENDS)
    running.end()
    lab.wait(lambda: in_lab(lab) == ["lab"], "the client to be gone", ENDS)
