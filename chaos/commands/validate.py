"""validate: say everything that is wrong with scenario files, as FILE:LINE:COLUMN, and start nothing.

Exit status 2 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from chaos.commands import BAD_INPUT, PASSED, _files


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES and --json."""
    _files.options(parser)
    parser.add_argument("--json", action="store_true", help="one object a line for each problem")


def run(options: argparse.Namespace) -> int:
    """Print every problem of every file."""
    loaded, problems = _files.scenarios(options.files)
    for problem in problems:
        print(json.dumps(asdict(problem), ensure_ascii=False) if options.json else problem)
    if problems:
        return BAD_INPUT
    if not options.json:
        count = sum(len(scenario.cases) for scenario in loaded)
        print(f"nothing wrong: {len(loaded)} files, {count} cases")
    return PASSED
