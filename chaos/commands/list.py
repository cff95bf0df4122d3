"""list: show the cases of scenario files: their faults, their client, and what is expected of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from chaos.commands import PASSED, _files

if TYPE_CHECKING:
    from chaos.scenario import Case

HEADINGS = ("case", "faults", "client", "expected")


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES and --json."""
    _files.options(parser)
    parser.add_argument("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """One line a case."""
    cases = _files.cases(options.files)
    if options.json:
        for case in cases:
            print(json.dumps(as_json(case), ensure_ascii=False))
    else:
        print("\n".join(aligned([HEADINGS, *map(_row, cases)])))
    return PASSED


def as_json(case: Case) -> dict[str, Any]:
    """The case as `list --json` prints it; what is expected is left out where the scenario does not say it."""
    expected = {key: value for key, value in asdict(case.expect).items() if value not in (None, {}, ())}
    return {
        "id": case.node_id,
        "file": case.node_id.rpartition("::")[0],
        "case": case.name,
        "line": case.line,
        "topology": case.setting.topology.name,
        "family": "local" if case.setting.local else case.setting.family,
        "type": case.setting.type,
        "timing": case.setting.timing,
        "faults": [{"kind": kind, "at": getattr(fault, "at", None)} for kind, fault in case.faults],
        "client": case.adapter,
        "expect": expected,
        "tags": list(case.tags),
        "xfail": case.xfail,
        "exclusive": case.exclusive,
    }


def _row(case: Case) -> tuple[str, ...]:
    faults = ", ".join(f"{kind} at {at}" if (at := getattr(fault, "at", "")) else kind for kind, fault in case.faults)
    command = getattr(case.client, "command", ())
    client = f"{case.adapter} {command[0]}" if command else case.adapter
    phase = f" in {case.expect.phase}" if case.expect.phase else ""
    error = case.expect.error or _other(case)
    return case.node_id, faults or "none", client, error + phase + (" (xfail)" if case.xfail else "")


def _other(case: Case) -> str:
    """What is expected of a case that expects no error by name."""
    surfaces = case.expect.surfaces
    said = {key: value for key, value in asdict(surfaces).items() if value is not None} if surfaces else {}
    return ", ".join(said) or "no error by name"


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines with columns of equal width."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
