"""run: run scenarios, all of them side by side, and print a line for each case in their order.

What `pytest scenarios/` does, with the same options less the prefix. A broken case (INVALID) is exit status 3, one that
failed is 1; when there are both, it is 1, for a FAIL is proven.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import get_args

from chaos.commands import BAD_INPUT, _files, _running
from chaos.commands._running import Kind, Told


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
    add("--json", action="store_true", help="one object a line for each case")
    _running.circumstances(parser)


def run(options: argparse.Namespace) -> int:
    """Run the selected cases; the exit status is that of the worst."""
    from chaos.selection import selected

    cases = selected(_files.cases(options.files), options.expression)
    if not cases:
        print("connect-chaos run: no case is selected", file=sys.stderr)
        return BAD_INPUT
    started = time.monotonic()
    kinds: list[Kind] = []
    for told in _running.results(cases, options):
        kinds.append(told.kind)
        _print(told, options)
    if not options.json:
        counts = [f"{kinds.count(kind)} {kind}" for kind in get_args(Kind) if kind in kinds]
        print(f"{', '.join(counts)} in {time.monotonic() - started:.2f} s")
    return _running.status(kinds)


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
