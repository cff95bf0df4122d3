"""plan: print the commands with which a person does by hand what a case does."""

from __future__ import annotations

import argparse

from chaos.commands import _files


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES, --backend and --json."""
    _files.options(parser, several=False)
    parser.add_argument("--backend", default="auto", help="of which lab: netns, docker or auto; auto")
    parser.add_argument("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """Print it for each case."""
    from chaos.plan import plan
    from chaos.shared import IN_CONTAINERS, Shared

    backend = Shared(options.backend)
    return _files.tell(options, "plan", lambda case: plan(case, docker=backend.of(case.setting) == IN_CONTAINERS))
