"""doctor: try everything that scenarios may need on this machine, and print the line that mends what is missing.

Exit status 0 when the netns backend has what it needs, else 3.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from chaos.commands import BROKEN, PASSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.probes.probe import Probe


def options(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="one object")


def run(options: argparse.Namespace) -> int:
    """Print each answer as it comes."""
    found = []
    for probe in probes():
        found.append(probe)
        if not options.json:
            print(told(probe), flush=True)
    works = all(probe.ok for probe in found if probe.needed)
    if options.json:
        print(json.dumps({"netns": works, "probes": [asdict(probe) for probe in found]}, indent=2))
    else:
        print(f"the netns backend {'works' if works else 'does not work'} here")
    return PASSED if works else BROKEN


def probes() -> Iterator[Probe]:
    """Every probe, as its answer comes."""
    from chaos.probes import bpf, containers, inside, namespaces, tools

    yield from namespaces.probes()
    yield from inside.probes()
    yield from tools.probes()
    yield from containers.probes()
    yield bpf.probe()


def told(probe: Probe) -> str:
    """A line, and a second one with the mend."""
    mark = {True: "ok", False: "MISSING" if probe.needed else "absent", None: "-"}[probe.ok]
    mend = f"\n{'':9}{'':26}mend: {probe.mend}" if probe.mend and not probe.ok else ""
    return f"{mark:<9}{probe.name:<26}{probe.detail}{mend}"
