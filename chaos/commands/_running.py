"""Running cases side by side for a command: the options that it takes, what became of each case, the exit status."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from chaos.commands import BROKEN, FAILED, PASSED

if TYPE_CHECKING:
    from chaos.pool import Pool
    from chaos.run import Result
    from chaos.scenario import Case

Kind = Literal["PASS", "FAIL", "INVALID", "SKIP", "XFAIL"]
KEEP: Final = ("retain-on-failure", "always", "never")
TICK: Final = 1.0
"""Seconds between two looks at what is being waited for, on a terminal."""


@dataclass(frozen=True)
class Told:
    """What became of a case: the kind that counts (an `xfail` turns FAIL and PASS round), and why."""

    case: Case
    kind: Kind
    reasons: tuple[str, ...]
    backend: str
    result: Result | None = None
    folder: Path | None = None


def circumstances(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that runs cases."""
    add = parser.add_argument
    add("--backend", default="auto", help="netns, docker or auto; auto")
    add("--jobs", default="auto", metavar="N|auto", help="cases at work at once; waiting is not work")
    add("--artifacts", default="retain-on-failure", choices=KEEP, help="when to keep a case's packets and output")
    add("--strict", action="store_true", default=bool(os.environ.get("CI")), help="a missing tool is an error, no skip")


def status(kinds: Iterable[Kind]) -> int:
    """The exit status of a run with these verdicts."""
    found = set(kinds)
    return FAILED if "FAIL" in found else BROKEN if "INVALID" in found else PASSED


def _jobs(text: str) -> int | None:
    from chaos.errors import Problem, ScenarioError

    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ScenarioError([Problem("--jobs", 0, 0, f"expected `auto` or a number from 1, got `{text}`")])
    return int(text)


def results(cases: list[Case], options: argparse.Namespace) -> Iterable[Told]:
    """What became of each case, in their order, as soon as it is known. Nothing is left running at the end.

    `options` are those of `circumstances`.
    """
    from chaos import artifacts
    from chaos.errors import ToolMissing
    from chaos.pool import Pool
    from chaos.run import Idle
    from chaos.run import run as run_case
    from chaos.shared import Shared

    backend = Shared(options.backend)

    def work(case: Case, idle: Idle) -> Told:
        where = backend.of(case.setting)
        if reason := backend.refuses(case):
            return Told(case, "SKIP", (reason,), where)
        try:
            result = run_case(case, backend, idle)
        except ToolMissing as error:
            return Told(case, "INVALID" if options.strict else "SKIP", (str(error),), where)
        if stopping.is_set():
            raise CancelledError  # its lab was taken away
        kept, folder = artifacts.keep(result, where, Path(artifacts.FOLDER), options.artifacts)
        return Told(case, _turned(kept), _reasons(kept), where, kept, folder)

    stopping = threading.Event()
    pool = Pool(work, _jobs(options.jobs), backend.labs, lambda case: backend.sharing(case.setting))
    try:
        for future in pool.start(cases):
            yield _awaited(future, pool)
    finally:
        stopping.set()
        pool.stop(backend.close)


def _turned(result: Result) -> Kind:
    kind = result.verdict.kind
    if result.case.xfail is None or kind == "INVALID":
        return kind
    return "XFAIL" if kind == "FAIL" else "FAIL"


def _reasons(result: Result) -> tuple[str, ...]:
    if result.case.xfail is not None and result.verdict.kind == "PASS":
        return (f"passed, but is known to fail: {result.case.xfail}",)
    return result.verdict.reasons


def _awaited(future: Future[Told], pool: Pool[Told]) -> Told:
    """The result; meanwhile a terminal is told what is being waited for."""
    while sys.stderr.isatty() and not wait([future], TICK).done:
        if waiting := pool.waiting():
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            line = f"waiting for {len(waiting)}, the longest {waiting[0][1]:.0f} s: {waiting[0][0].node_id}"
            print(f"\r\x1b[K{line[:width]}\r", end="", file=sys.stderr, flush=True)
    return future.result()
