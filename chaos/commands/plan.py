"""plan: print the commands with which a person does by hand what a case does."""

from __future__ import annotations

import argparse

from chaos.commands import _files


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES and --json."""
    _files.options(parser, several=False)
    parser.add_argument("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """Print it for each case."""
    from chaos.plan import plan

    return _files.tell(options, "plan", plan)
