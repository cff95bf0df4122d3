"""plan: print the commands with which a person does by hand what a case does."""

from __future__ import annotations

import argparse
import json

from chaos.commands import PASSED, _files


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES and --json."""
    _files.options(parser, several=False)
    parser.add_argument("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """Print it for each case."""
    from chaos.plan import plan

    cases = _files.cases(options.files)
    for number, case in enumerate(cases):
        text = plan(case).rstrip()
        if options.json:
            print(json.dumps({"id": case.node_id, "plan": text}, ensure_ascii=False))
        else:
            print(*([""] if number else []), *([f"# {case.node_id}"] if len(cases) > 1 else []), text, sep="\n")
    return PASSED
