"""faults: tell of each kind: its wire, the command by hand, what Linux surfaces, what it imitates and requires.

    connect-chaos faults drop icmp
    connect-chaos faults --markdown > docs/faults.md

An entry is what the fault's own file says of it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from chaos.commands import PASSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.catalogue import Entry


def options(parser: argparse.ArgumentParser) -> None:
    """Add KIND, --json and --markdown."""
    add = parser.add_argument
    add("kinds", metavar="KIND", nargs="*", help="a fault, as a scenario names it; every one by default")
    add("--json", action="store_true", help="one object a line for each fault")
    add("--markdown", action="store_true", help="the page docs/faults.md")


def run(options: argparse.Namespace) -> int:
    """Print what is known of them."""
    from chaos.catalogue import lines, markdown

    listed = chosen(options.kinds)
    if options.json:
        for entry in listed:
            print(json.dumps(asdict(entry), ensure_ascii=False))
    elif options.markdown:
        print(markdown(listed), end="")
    else:
        print("\n\n".join("\n".join(lines(entry)) for entry in listed))
    return PASSED


def chosen(names: Sequence[str]) -> list[Entry]:
    """The entries of these kinds, or of all. Raises ScenarioError for one that does not exist."""
    from chaos import kinds
    from chaos.catalogue import entries
    from chaos.errors import Problem, ScenarioError

    known = kinds.faults()
    unknown = [Problem("faults", 0, 0, kinds.unknown("fault", name, known)) for name in names if name not in known]
    if unknown:
        raise ScenarioError(unknown)
    return [entry for entry in entries() if not names or entry.kind in names]
