"""run: run scenarios, all of them side by side, and print a line for each case in their order.

What `pytest scenarios/` does, with the same options less the prefix. A broken case (INVALID) is exit status 3, one that
failed is 1; when there are both, it is 1, for a FAIL is proven.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from chaos.commands import BAD_INPUT, BROKEN, FAILED, PASSED, _files

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


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES, and the plugin's options."""
    _files.options(parser)
    add = parser.add_argument
    add(
        "-k",
        dest="expression",
        metavar="EXPRESSION",
        help="only cases whose names have these words: 'refused and not curl'",
    )
    add("--backend", default="auto", help="netns, docker or auto; auto")
    add("--jobs", default="auto", metavar="N|auto", help="cases at work at once; waiting is not work")
    add("--artifacts", default="retain-on-failure", choices=KEEP, help="when to keep a case's packets and output")
    add("--strict", action="store_true", default=bool(os.environ.get("CI")), help="a missing tool is an error, no skip")
    add("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """Run the selected cases; the exit status is that of the worst."""
    from chaos.selection import selected

    jobs = _jobs(options.jobs)
    cases = selected(_files.cases(options.files), options.expression)
    if not cases:
        print("connect-chaos run: no case is selected", file=sys.stderr)
        return BAD_INPUT
    started = time.monotonic()
    kinds: list[Kind] = []
    for told in _results(cases, jobs, options):
        kinds.append(told.kind)
        _print(told, options)
    if not options.json:
        counts = [f"{kinds.count(kind)} {kind}" for kind in get_args(Kind) if kind in kinds]
        print(f"{', '.join(counts)} in {time.monotonic() - started:.2f} s")
    return status(kinds)


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


def _results(cases: list[Case], jobs: int | None, options: argparse.Namespace) -> Iterable[Told]:
    """What became of each case, in their order, as soon as it is known. Nothing is left running at the end."""
    from chaos import artifacts
    from chaos.errors import ToolMissing
    from chaos.pool import Pool
    from chaos.run import Idle
    from chaos.run import run as run_case
    from chaos.shared import Shared

    backend = Shared(options.backend)

    def work(case: Case, idle: Idle) -> Told:
        where = backend.of(case.setting)
        try:
            result = run_case(case, backend, idle)
        except ToolMissing as error:
            return Told(case, "INVALID" if options.strict else "SKIP", (str(error),), where)
        if stopping.is_set():
            raise CancelledError  # its lab was taken away
        kept, folder = artifacts.keep(result, where, Path(artifacts.FOLDER), options.artifacts)
        return Told(case, _turned(kept), _reasons(kept), where, kept, folder)

    stopping = threading.Event()
    pool = Pool(work, jobs, backend.labs)
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


def _print(told: Told, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(_as_json(told), ensure_ascii=False), flush=True)
        return
    if sys.stderr.isatty():
        print("\x1b[K", end="", file=sys.stderr, flush=True)
    print(_line(told), flush=True)
    if told.kind in ("FAIL", "INVALID"):
        print(_explained(told), flush=True)


def _line(told: Told) -> str:
    took = f" ({told.result.seconds:.2f} s)" if told.result else ""
    why = f": {told.reasons[0]}" if told.kind == "SKIP" else f": {told.case.xfail}" if told.kind == "XFAIL" else ""
    return f"{told.kind:<7} {told.case.node_id}{took}{why}"


def _explained(told: Told) -> str:
    """Why, with file and line, and the packets."""
    from chaos.report import explain_failure

    result = told.result
    if result is None or result.verdict.kind == "PASS":
        return "\n".join(f"  {reason}" for reason in told.reasons)
    text = explain_failure(
        result.verdict,
        file=told.case.node_id.rpartition("::")[0],
        line=told.case.line,
        lines=told.case.lines,
        evidence=result.evidence,
        faults=result.faults,
        artifacts=str(told.folder) if told.folder else None,
    )
    return "\n".join(f"  {line}" for line in text.splitlines())


def _as_json(told: Told) -> dict[str, object]:
    from chaos import artifacts
    from chaos.check import invalid
    from chaos.run import Result

    result = told.result or Result(told.case, invalid(told.reasons[0]), 0.0)
    whole = artifacts.as_json(result, told.backend, told.folder)
    return {**whole, "verdict": told.kind, "reasons": list(told.reasons)}
