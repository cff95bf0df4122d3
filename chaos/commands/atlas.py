"""atlas: run every cause and print what was surfaced: cause, family, error, phase, time and wire.

    connect-chaos atlas scenarios/refused
    connect-chaos atlas --client requests
    connect-chaos atlas --output docs                      # docs/atlas.md and docs/atlas.json
    connect-chaos atlas --against docs/atlas.json          # what this kernel does differently

Exit status as `run`; with --against also 1 when something ended otherwise, or when only one of the two has it (of FILES
alone, if there are any).
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.commands import BAD_INPUT, FAILED, _files, _running

if TYPE_CHECKING:
    from chaos.atlas import Atlas


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES, what to print, what to compare with, and those of a run."""
    _files.options(parser)
    add = parser.add_argument
    add("--client", default="socket", metavar="ADAPTER", help="whose cases; socket, which adds nothing to the kernel's")
    add("--json", action="store_true", help="one object with all rows")
    add("--markdown", action="store_true", help="the page docs/atlas.md")
    add("--output", metavar="FOLDER", type=Path, help="write atlas.md and atlas.json there, and print neither")
    add("--against", metavar="FILE", type=Path, help="print what ended otherwise than in this atlas.json")
    _running.circumstances(parser)


def run(options: argparse.Namespace) -> int:
    """Run the cases side by side and print what they surfaced."""
    from chaos import atlas

    shipped = _read(options.against) if options.against else None
    cases = [case for case in _files.cases(options.files) if case.adapter == options.client]
    if not cases:
        print(f"connect-chaos atlas: no case has the client {options.client}", file=sys.stderr)
        return BAD_INPUT
    told = list(_running.results(cases, options))
    rows = atlas.ordered(atlas.row(each.case, each.kind, each.reasons, each.result) for each in told)
    here = atlas.Atlas(os.uname().release, datetime.now(UTC).date().isoformat(), options.client, rows)
    if shipped is None:
        _tell(here, options)
        return _running.status(each.kind for each in told)
    if options.files:
        shipped = atlas.common(shipped, here)
    found = [*atlas.strangers(shipped, here), *atlas.differences(shipped, here)]
    print(*(found or [f"nothing ended otherwise than on Linux {shipped.kernel}"]), sep="\n")
    return max(FAILED if found else 0, _running.status(each.kind for each in told))


def _tell(here: Atlas, options: argparse.Namespace) -> None:
    from chaos.atlas import dumps
    from chaos.atlaspage import HEADINGS, cells, page
    from chaos.commands.list import aligned

    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "atlas.md").write_text(page(here), encoding="utf-8")
        (options.output / "atlas.json").write_text(dumps(here), encoding="utf-8")
    elif options.json or options.markdown:
        print(dumps(here) if options.json else page(here), end="")
    else:
        print(f"Linux {here.kernel}", *aligned([HEADINGS, *cells(here.rows)]), sep="\n")


def _read(file: Path) -> Atlas:
    """An atlas that was written before. Raises ScenarioError when the file is none."""
    from chaos.atlas import loads
    from chaos.errors import Problem, ScenarioError

    try:
        return loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no atlas.json of connect-chaos"
        raise ScenarioError([Problem(str(file), 0, 0, str(reason))]) from None
