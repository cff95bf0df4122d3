"""explain: say in plain words what a case will send, drop and answer, when, and what the kernel will return."""

from __future__ import annotations

import argparse

from chaos.commands import _files


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES and --json."""
    _files.options(parser, several=False)
    parser.add_argument("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """Print it for each case."""
    from chaos.explain import explain

    return _files.tell(options, "explain", explain)
