"""explain: say in plain words what a case will send, drop and answer, when, and what the kernel will return."""

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
    from chaos.explain import explain

    cases = _files.cases(options.files)
    for number, case in enumerate(cases):
        text = explain(case).rstrip()
        if options.json:
            print(json.dumps({"id": case.node_id, "explain": text}, ensure_ascii=False))
        else:
            print(*([""] if number else []), *([f"# {case.node_id}"] if len(cases) > 1 else []), text, sep="\n")
    return PASSED
