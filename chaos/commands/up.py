"""up: a topology to play with: it stays up under its faults until Ctrl-C, or `down`.

    connect-chaos up client-server --fault drop:segment=syn --rtt 50ms

The network is tried with a socket of ours before the faults are armed; then they act on everything. `connect-chaos
shell NODE` opens a shell in a node, from any terminal of the same user. One lab a user; nothing of it outlives us.

Exit status: 0 ended by `down`, 130 by Ctrl-C, 143 by SIGTERM. A fault is written as for `exec`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chaos.commands import PASSED, _adhoc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.backends.lab import AgentLab
    from chaos.scenario import Case

WHERE = "connect-chaos up"


class Terminated(BaseException):
    """SIGTERM or SIGHUP, as something that lets everything be ended in order."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the topology and the keys of a scenario that make sense here."""
    add = parser.add_argument
    add("topology", nargs="?", metavar="TOPOLOGY", help="a folder of compose/, or a path to a Compose file")
    _adhoc.options(parser, speaks="http", topology=False)
    add("--node", help="the client, where names are broken and the network is tried from; client, or the first node")
    add("--backend", default="auto", help="auto, netns or docker; auto")
    add("--json", action="store_true", help="tell what is there as one JSON object on a line")


def run(options: argparse.Namespace) -> int:
    """Bring it up, say what is there, and stay."""
    from chaos import control
    from chaos.play import Play, broken_lab
    from chaos.shared import Shared

    case = case_of(options, WHERE)
    backend = Shared(options.backend)
    try:
        with _terminable(), control.listening() as listening:
            try:
                with broken_lab(case, backend) as lab:
                    _tell(lab, case, backend.name, as_json=options.json)
                    told = Play(lab, listening).serve()
            finally:
                backend.close()
            told.close()  # now: the lab has ended
    except Terminated as ending:
        return 128 + int(ending.args[0])
    return PASSED


def case_of(options: argparse.Namespace, where: str) -> Case:
    """The lab and the faults that were asked for; its client is our socket. Raises ScenarioError."""
    from pathlib import Path

    from chaos import topology
    from chaos.clients.socket import Socket

    services = topology.find(options.topology or "client-server", Path.cwd()).services
    usual = "client" if "client" in services else next(iter(services), "client")
    options.speaks = options.speaks or "http"
    return _adhoc.case(options, Socket(node=options.node or usual), where, "up")


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Terminated, once."""

    def end(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Terminated(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(lab: AgentLab, case: Case, backend: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(lab, case, backend)))
    else:
        print("\n".join(told(lab, case, backend)))
    sys.stdout.flush()


def told(lab: AgentLab, case: Case, backend: str) -> list[str]:
    """What is there, for a person."""
    setting = case.setting
    way = f"round trip {setting.rtt * 1000:g} ms" if setting.path == "routed" else "no router"
    width = max(map(len, lab.nodes))
    lines = [f"{setting.topology.name} is up: {backend}, {setting.family}, {way}"]
    for name, node in lab.nodes.items():
        listens = ", ".join(_listening(case).get(name, ()))
        lines.append(f"  {name:{width}}  {node.address:15}  {listens and f'listens on {listens}'}".rstrip())
    faults = [f"{kind} at {getattr(fault, 'at', None) or setting.target.node}" for kind, fault in case.faults]
    lines += [f"armed: {', '.join(faults) or 'no fault, the network is healthy'}"]
    url = f"http://{setting.target.node}:{setting.target.port}/"
    tool = f"curl -sS {url}" if setting.listen.speaks == "http" else "COMMAND"
    lines += [f"a shell: connect-chaos shell {setting.client}    (or one command: ... -- {tool})"]
    return [*lines, "the end: Ctrl-C, or connect-chaos down"]


def _listening(case: Case) -> dict[str, list[str]]:
    """By node, the ports on which somebody listens, and what is there."""
    setting = case.setting
    ports = {setting.listen.node: [f"{setting.listen.port} ({setting.listen.speaks})"]}
    for service in setting.topology.services.values():
        if service.proxy is not None:
            port, upstream = service.proxy
            ports.setdefault(service.name, []).append(f"{port} (Toxiproxy for {upstream.node}:{upstream.port})")
    return ports


def _as_json(lab: AgentLab, case: Case, backend: str) -> dict[str, Any]:
    setting = case.setting
    return {
        "pid": os.getpid(),
        "topology": setting.topology.name,
        "backend": backend,
        "family": setting.family,
        "nodes": {name: node.address for name, node in lab.nodes.items()},
        "client": setting.client,
        "target": f"{setting.target.node}:{setting.target.port}",
        "listens": _listening(case),
        "faults": [{"kind": kind, "at": getattr(fault, "at", None)} for kind, fault in case.faults],
    }
