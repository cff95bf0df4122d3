"""What a rule of the wire is on a command line: iptables or tc in the router, as near as one line comes to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chaos.agent.lab import WIRE
from chaos.faults._messages import REJECTS
from chaos.faults._rules import directions, matches
from chaos.model import Family

QUEUEING = "the kernel's queue does it to every packet"
NETEM = f"{QUEUEING}, and needs netem"
QDISCS: Mapping[str, tuple[str, str]] = {
    "delay": ("netem delay {by_ms:g}ms", NETEM),
    "duplicate": ("netem duplicate 100%", NETEM),
    "reorder": ("netem delay 10ms reorder 50%", f"{NETEM}; which ones, is left to chance"),
    "corrupt": ("netem corrupt 100%", NETEM),
    "bandwidth": ("tbf rate {bits:g}bit burst 1600 limit {queue}", QUEUEING),
}
"""By action: what `tc qdisc` calls it, and in what it differs."""


def armed(rule: Mapping[str, Any]) -> Iterator[str | tuple[str, ...]]:
    """Comments (text) and commands (arguments) that put a rule in force in the router."""
    yield from _lines(rule, ("-A", "add"))


def withdrawn(rule: Mapping[str, Any]) -> Iterator[str | tuple[str, ...]]:
    """The commands that put it out of force."""
    yield from (line for line in _lines(rule, ("-D", "del")) if not isinstance(line, str))


def _lines(rule: Mapping[str, Any], words: tuple[str, str]) -> Iterator[str | tuple[str, ...]]:
    action = rule["action"]
    first, last = rule["match"]["nth"]
    if (first, last) != (1, None):
        number = f"number {first}..{'' if last is None else last}"
        yield f"# The wire does this to {number} of these segments only; by hand, watch the counter."
    if action["do"] in QDISCS:
        text, differs = QDISCS[action["do"]]
        values = {"by_ms": action.get("by", 0) * 1000, "bits": action.get("rate", 0) * 8, "queue": action.get("queue")}
        yield f"# The wire does it to these segments alone; {differs}."
        yield ("tc", "qdisc", words[1], "dev", WIRE, "root", *text.format(**values).split())
        return
    verdict = _verdict(rule)
    if verdict is None:
        yield f"# {_told(action)}: the wire does it; no one-line command does."
        return
    yield from _rules(rule["match"], words[0], verdict)


def _verdict(rule: Mapping[str, Any]) -> tuple[str, ...] | None:
    action = rule["action"]
    if action["do"] == "drop":
        return ("-j", "DROP")
    option = REJECTS[_family(rule["match"])].get((action.get("type", -1), action.get("code", -1)))
    return ("-j", "REJECT", "--reject-with", option) if option else None


def _told(action: Mapping[str, Any]) -> str:
    if action["do"] == "icmp":
        return f"ICMP {action['type']}/{action['code']} in answer to these segments"
    return " ".join(str(value) for value in action.values())


def _family(match: Mapping[str, Any]) -> Family:
    return "ipv4" if match["version"] == 4 else "ipv6"


def _rules(match: Mapping[str, Any], letter: str, verdict: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    family = _family(match)
    tool = "iptables" if family == "ipv4" else "ip6tables"
    ends = [(option, match[end]) for option, end in (("-s", "from"), ("-d", "to")) if match[end]]
    larger = ("-m", "length", "--length", f"{match['larger'] + 1}:65535") if match["larger"] else ()
    for segment in match["segments"]:
        for way in directions(segment):
            what = matches(segment, way, match["port"], family)
            yield (
                tool,
                letter,
                "FORWARD",
                "-i",
                WIRE,
                *(word for end in ends for word in end),
                *what,
                *larger,
                *verdict,
            )
