"""exec: run any command once, in the client's node, under faults; no scenario file is needed.

    connect-chaos exec --fault drop:segment=syn -- curl -sS http://server:8080/

Names of nodes resolve. Standard input, output and error are the command's own, and its exit status is passed on
(128 + n when signal n ended it). What happened on the wire is told on stderr afterwards. That the network works before
and after is tried with a socket of ours, not with the command. A command that was never run is exit status 3.

A fault is KIND[:KEY=VALUE,KEY=VALUE], with + between the members of a list: `drop:segment=ack+data,at=server`. Without
`at` it is at the node that the client dials.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from chaos.commands import BROKEN, _adhoc

if TYPE_CHECKING:
    from chaos.run import Result
    from chaos.scenario import Case

WHERE = "connect-chaos exec"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the keys of a scenario that make sense here, and the command."""
    _adhoc.options(parser, speaks="http where the command holds an http:// URL")
    add = parser.add_argument
    add("--node", default="client", help="where the command runs; client")
    add("--backend", default="auto", help="auto, netns or docker; auto")
    add("--quiet", action="store_true", help="say nothing of the wire, unless the fault is not proven")
    add("--json", action="store_true", help="tell what happened as one JSON object, the last line of stderr")
    add("argv", metavar="COMMAND", nargs="+", help="the command and its arguments, behind --")


def run(options: argparse.Namespace) -> int:
    """Run the command and pass on its exit status."""
    from chaos.backends.netns import Netns
    from chaos.run import run as run_case
    from chaos.shared import EMBEDDED, Shared, find

    case = case_of(options)
    name = Shared(options.backend).of(case.setting)
    with Netns(stdin=True) if name == EMBEDDED else find(name)() as backend:
        result = run_case(case, backend)
    sys.stdout.flush()
    _tell(result, options, name)
    if result.evidence is None or result.evidence.outcome.exit is None:
        return BROKEN
    status = result.evidence.outcome.exit
    return status if status >= 0 else 128 - status


def case_of(options: argparse.Namespace) -> Case:
    """The command line as a case that expects nothing in particular. Raises ScenarioError."""
    from chaos.clients._passthrough import Passthrough

    client = Passthrough(tuple(options.argv), node=options.node)
    return _adhoc.case(options, client, WHERE, shlex.join(options.argv))


def _tell(result: Result, options: argparse.Namespace, backend: str) -> None:
    if options.json:
        print(json.dumps(_as_json(result, backend), ensure_ascii=False), file=sys.stderr)
    elif not options.quiet or result.verdict.kind != "PASS":
        for line in told(result):
            print(f"connect-chaos: {line}", file=sys.stderr)


def told(result: Result) -> list[str]:
    """What happened, for a person: the packets, each fault's hits, and why it cannot be believed if so."""
    from chaos.transcript import render

    evidence = result.evidence
    if evidence is None:
        return ["the command was not run", *result.verdict.reasons]
    wire = render(evidence.packets[evidence.client])
    lines = [f"on the wire at {evidence.client}: {', '.join(wire) or 'nothing to the target'}"]
    for fault in result.faults:
        lines.append(f"{fault}: {'1 hit' if fault.hits == 1 else f'{fault.hits} hits'}, {_proof(fault)}")
    outcome = evidence.outcome
    error = f", which the packets make {outcome.error}" if outcome.exit and outcome.error else ""
    status = "ended by signal" if (outcome.exit or 0) < 0 else "exit status"
    lines.append(
        f"{status} {abs(outcome.exit or 0)} after {(outcome.returned_ns - outcome.started_ns) / 1e9:.3f} s{error}"
    )
    return lines + [f"{result.verdict.kind}: {reason}" for reason in result.verdict.reasons]


def _proof(fault: Any) -> str:
    if fault.hits <= 0:
        return "so it touched nothing"
    return f"not proven: {fault.unproven}" if fault.unproven else "proven"


def _as_json(result: Result, backend: str) -> dict[str, Any]:
    from chaos.report import as_json

    case = result.case
    told = as_json(
        file=WHERE,
        case=case.name,
        verdict=result.verdict,
        evidence=result.evidence,
        faults=result.faults,
        timing=result.timing,
        backend=backend,
        artifacts=None,
    )
    return {**told, "exit": result.evidence.outcome.exit if result.evidence else None}
