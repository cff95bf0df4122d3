"""show: print what a run left of a case, decoded: the verdict, the reasons, and the packets of every leg.

Takes the case's folder, its verdict.json, or a packets.pcapng.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaos.commands import PASSED
from chaos.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.packets import Frame, Packet

LIMIT: Final = 64 << 20
"""Bytes of a capture that is read; ours are far below a megabyte."""
STREAMS: Final = ("client.out", "client.err")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the paths, and what to show of a capture."""
    add = parser.add_argument
    add("paths", metavar="PATH", nargs="+", help="a case's folder, a verdict.json or a packets.pcapng")
    add("--node", help="only the capture of this node")
    add("--all", action="store_true", help="also what is no TCP: ARP, neighbour discovery, UDP")
    add("--json", action="store_true", help="one object a path: the verdict, and the packets of each node")


def run(options: argparse.Namespace) -> int:
    """Print each path. Raises ScenarioError for what is missing or cannot be read."""
    for number, name in enumerate(options.paths):
        verdict, packets, streams = _read(Path(name))
        chosen = {node: packets[node] for node in packets if options.node in (None, node)}
        if options.node and packets and not chosen:
            raise _refused(name, f"no capture of a node `{options.node}`; there are: {', '.join(packets)}")
        seen = {node: [packet for packet in found if options.all or _is_tcp(packet)] for node, found in chosen.items()}
        if options.json:
            print(json.dumps({"verdict": verdict, "packets": {node: list(map(_as_json, seen[node])) for node in seen}}))
        else:
            print("\n".join([*([""] if number else []), *_told(verdict, seen, streams)]))
    return PASSED


def _read(path: Path) -> tuple[dict[str, Any] | None, dict[str, list[Packet]], dict[str, str]]:
    """The verdict or None, the packets by node, and what the client printed; of a folder whatever is in it."""
    if not path.is_dir():
        if path.suffix == ".pcapng":
            return None, _packets(path), {}
        return _verdict(path), {}, {}
    verdict, capture = path / "verdict.json", path / "packets.pcapng"
    if not verdict.is_file() and not capture.is_file():
        raise _refused(str(path), "neither verdict.json nor packets.pcapng is in this folder")
    return (
        _verdict(verdict) if verdict.is_file() else None,
        _packets(capture) if capture.is_file() else {},
        {
            name: text
            for name in STREAMS
            if (path / name).is_file() and (text := (path / name).read_text("utf-8", "replace"))
        },
    )


def _verdict(path: Path) -> dict[str, Any]:
    from chaos.source import read

    try:
        found = json.loads(read(path, LIMIT).text)
    except ValueError as error:
        raise _refused(str(path), f"not JSON: {error}") from None
    if not isinstance(found, dict) or "verdict" not in found:
        raise _refused(str(path), "not a verdict of connect-chaos")
    return found


def _packets(path: Path) -> dict[str, list[Packet]]:
    from chaos.packets import decode
    from chaos.pcapng import loads

    try:
        if path.stat().st_size > LIMIT:
            raise _refused(str(path), f"over {LIMIT >> 20} MiB")
        captures = loads(path.read_bytes())
    except OSError as error:
        raise _refused(str(path), (error.strerror or "unreadable").lower()) from None
    except (ValueError, LookupError) as error:
        raise _refused(str(path), f"cannot be read: {error}") from None
    return {node: list(_decoded(frames, decode)) for node, frames in captures.items()}


def _decoded(frames: Sequence[Frame], decode: Any) -> Iterator[Packet]:
    for index, frame in enumerate(frames):
        if (packet := decode(frame, index)) is not None:
            yield packet


def _is_tcp(packet: Packet) -> bool:
    return packet.protocol == "tcp" or packet.quoted is not None


def _told(verdict: dict[str, Any] | None, packets: dict[str, list[Packet]], streams: dict[str, str]) -> list[str]:
    from chaos.transcript import table

    lines = _judged(verdict) if verdict else []
    for name, text in streams.items():
        lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    for node, found in packets.items():
        lines += [f"packets at {node}, all legs:" if found else f"packets at {node}: none", *table(found)]
    return lines


def _judged(verdict: dict[str, Any]) -> list[str]:
    outcome = verdict.get("outcome") or {}
    took = f" after {outcome['elapsed_s']:.3f} s" if outcome.get("elapsed_s") is not None else ""
    where = f" in {outcome['phase']}" if outcome.get("phase") else ""
    lines = [f"{verdict['verdict']} {verdict.get('id', '')} ({verdict.get('backend')}, {verdict.get('timing')})"]
    lines += [f"  {reason}" for reason in verdict.get("reasons", ())]
    lines.append(f"client surfaced: {outcome.get('error') or 'no error by name'}{where}{took}")
    if outcome.get("type"):
        lines.append(f"  {outcome['type']}: {outcome.get('message')}")
    lines += [f"fault {fault['kind']}: hits {fault['hits']}" for fault in verdict.get("faults", ())]
    if verdict.get("wire"):
        lines.append(f"the attempt on the wire: {', '.join(verdict['wire'])}")
    lines += [f"states at {node}: {', '.join(states)}" for node, states in (verdict.get("states") or {}).items()]
    return lines


def _as_json(packet: Packet) -> dict[str, Any]:
    from chaos.conversation import segment

    told: dict[str, Any] = {"time_ns": packet.time_ns, "outgoing": packet.outgoing, "segment": segment(packet)}
    told |= {name: getattr(packet, name) for name in ("src", "sport", "dst", "dport", "seq", "ack", "length")}
    return {**told, "flags": sorted(packet.flags), "icmp": packet.icmp, "quoted": packet.quoted}


def _refused(path: str, message: str) -> ScenarioError:
    return ScenarioError([Problem(path, 0, 0, message)])
