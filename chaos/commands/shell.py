"""shell: open a shell in a node of the lab that `up` keeps running, or run one command there.

    connect-chaos shell client
    connect-chaos shell client -- curl -sS http://server:8080/
    connect-chaos shell client --topology client-server --fault drop:segment=syn

The shell is $SHELL, or bash (in a container bash, or sh), on a terminal of its own, with names of nodes resolving and
no proxies in its environment; what it leaves in the background ends with it. Its exit status is passed on (128 + n when
signal n ended it). With a topology, a fault or another option of a lab, it has a lab of its own, which ends with it. A
command that was never run is exit status 3. A fault is written as for `exec`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.commands import BROKEN, _adhoc

WHERE = "connect-chaos shell"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the node, the keys of a lab of its own, and the command."""
    parser.behind_dashes = True  # type: ignore[attr-defined]
    parser.usage = "connect-chaos shell NODE [options] [-- COMMAND...]"
    parser.add_argument("node", metavar="NODE", help="the node, such as client, server or router")
    _adhoc.options(parser, speaks="http")
    parser.add_argument("--backend", help="of a lab of its own: auto, netns or docker; auto")


def run(options: argparse.Namespace) -> int:
    """Run the program in the node and pass on its exit status."""
    from chaos.terminal import lend

    def hang_up(*_: Any) -> None:
        raise KeyboardInterrupt  # so that the terminal is restored

    before = {number: signal.signal(number, hang_up) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with lend() as lent:
            own = _adhoc.said(options) or options.backend is not None
            return _status((_in_own_lab if own else _in_running_lab)(options, lent))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _job(options: argparse.Namespace, *, terminal: bool) -> dict[str, Any]:
    argv, environment = options.argv or [_shell()], dict(os.environ)
    job = {"argv": argv, "shell": not options.argv, "directory": str(Path.cwd())}
    return {**job, "environment": environment, "terminal": terminal}


def _shell() -> str:
    """$SHELL, or bash. The shell of an account that may not log in (nobody's) is none."""
    said = os.environ.get("SHELL", "")
    return said if os.access(said, os.X_OK) and Path(said).name not in ("nologin", "false") else "bash"


def _in_running_lab(options: argparse.Namespace, lent: Any) -> Mapping[str, Any]:
    from chaos import control
    from chaos.errors import LabError, Problem, ScenarioError

    with control.connect() as connection:
        job = _job(options, terminal=lent.master is not None)
        control.say(connection, {"do": "shell", "node": options.node, "job": job}, lent.streams)
        lent.given()
        lent.relay(connection.fileno(), lambda: True)
        answer, _ = control.heard(connection)
    if answer is None:
        raise LabError("the lab ended, and with it what ran in it")
    if "error" in answer:
        said = answer["error"]
        raise ScenarioError([Problem("", 0, 0, said)]) if answer["input"] else LabError(said)
    return answer


def _in_own_lab(options: argparse.Namespace, lent: Any) -> Mapping[str, Any]:
    from chaos.commands.up import case_of
    from chaos.play import broken_lab, open_program
    from chaos.shared import Shared

    node, options.node = options.node, None
    case = case_of(options, WHERE)
    backend = Shared(options.backend or "auto")
    try:
        with broken_lab(case, backend) as lab:
            running = open_program(lab, node, _job(options, terminal=lent.master is not None), lent.streams)
            lent.given()
            if not running.ready():
                lent.relay(running.news, running.ready)
            result: Mapping[str, Any] = running.next(1.0)
            return result
    finally:
        backend.close()


def _status(result: Mapping[str, Any]) -> int:
    """The program's exit status. Raises ToolMissing, or LabError, when it could not be started."""
    from chaos.errors import LabError, ToolMissing

    if "missing" in result:
        tool = result["missing"]
        if result["errno"] == "ENOENT":
            raise ToolMissing(tool, f"apt-get install {shlex.quote(tool)}")
        raise LabError(f"{tool}: cannot be started: {result['errno']}")
    exit_, number = result["exit"], result["signal"]
    return int(exit_) if exit_ is not None else 128 + number if number else BROKEN
