"""What exec, up and shell share: a lab and its faults from options, typed as a scenario file's keys are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chaos.model import Client
    from chaos.scenario import Case

KEYS = ("topology", "path", "rtt", "family", "names", "addresses", "timing", "port", "speaks")


def options(parser: argparse.ArgumentParser, *, speaks: str, topology: bool = True) -> None:
    """Add the keys of a scenario that make sense without one. `speaks`: what the server answers unless said."""
    add = parser.add_argument
    add("--fault", action="append", default=[], metavar="KIND[:KEY=VALUE,...]", help="may be given several times")
    if topology:
        add("--topology", metavar="NAME", help="a folder of compose/, or a path to a Compose file; client-server")
    add("--path", help="routed (through the router, our wire) or direct; routed")
    add("--rtt", metavar="TIME", help="round-trip time of the wire, such as 20ms; 2ms")
    add("--family", help="ipv4 or ipv6; ipv4")
    add("--names", help="where names come from: hosts (files) or dns (a server, the node `dns`); hosts")
    add("--addresses", help="to which of a node's addresses its name leads: that of the family, or both; family")
    add("--timing", help="the kernel's schedule of SYNs: short (3 s), real (131 s) or compressed (1 s); short")
    add("--port", type=int, help="where the server listens; 8080")
    add("--speaks", help=f"what the server answers: echo or http; {speaks}")


def said(options: argparse.Namespace) -> bool:
    """Whether any of them was given."""
    return bool(options.fault) or any(getattr(options, key) is not None for key in KEYS)


def case(options: argparse.Namespace, client: Client, where: str, name: str) -> Case:
    """The command line as a case that expects nothing in particular. Raises ScenarioError."""
    from chaos import adhoc

    setting = adhoc.setting(_keys(options), client, Path.cwd(), where)
    faults = []
    for text in options.fault:
        kind, parameters = adhoc.parsed(text)
        faults.append((kind, adhoc.fault(kind, parameters, setting, f"--fault {text}")))
    return adhoc.case(where, name, setting, faults, client, "command")


def _keys(options: argparse.Namespace) -> dict[str, Any]:
    """What was said, as a scenario file says it."""
    listen = {"port": options.port, "speaks": options.speaks}
    keys = {name: getattr(options, name) for name in ("topology", "path", "family", "names", "addresses", "timing")}
    keys["link"] = {"rtt": options.rtt} if options.rtt is not None else None
    keys["listen"] = {key: value for key, value in listen.items() if value is not None} or None
    return {key: value for key, value in keys.items() if value is not None}
