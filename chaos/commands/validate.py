"""validate: say everything that is wrong with scenario files, as FILE:LINE:COLUMN, and start nothing.

Exit status 2 when anything is wrong. A warning is what is allowed and will not go as expected, as far as explain knows;
it is told in the same way, with `warning:` (or the severity of the object), and the exit status is 0 all the same.
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
    """Print every problem and every warning of every file."""
    from chaos.doubts import doubts

    loaded, problems = _files.scenarios(options.files, doubts)
    warnings = [warning for scenario in loaded for warning in scenario.warnings]
    for problem in sorted([*problems, *warnings]):
        print(json.dumps(asdict(problem), ensure_ascii=False) if options.json else problem)
    if problems:
        return BAD_INPUT
    if not options.json:
        count = sum(len(scenario.cases) for scenario in loaded)
        found = f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else "nothing wrong"
        print(f"{found}: {len(loaded)} files, {count} cases")
    return PASSED
