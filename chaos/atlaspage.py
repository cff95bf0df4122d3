"""An atlas for people: a table for a terminal, and the page docs/atlas.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from chaos.atlas import FAMILIES, Atlas, Row, by_error

HEADINGS: Final = ("cause", "family", "error", "phase", "after", "wire")
SEGMENTS: Final = 6
"""Lines of the wire that a table shows."""
TITLES: Final = {"ipv4": "IPv4", "ipv6": "IPv6", "local": "UNIX"}

HEAD: Final = """\
# The atlas: how a connect ends, by cause

What the client `{client}` surfaced of each scenario on **Linux {kernel}**, {date}: seen in a run, not copied from what
the scenarios expect. Made by `connect-chaos atlas --output docs`; a test runs the atlas again and compares error, phase
and the class of the time with docs/atlas.json. `connect-chaos atlas --against docs/atlas.json` tells what another
kernel does differently. The SYN schedule is the short one of the scenarios (ETIMEDOUT after 3 s); the wire is what the
client's own interface saw. A family in parentheses: the cause ends otherwise over the other one.
"""


def cells(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """A line of the table for each row, in the order of HEADINGS."""
    for each in rows:
        yield (named(each, rows), each.family, *_ending(each))


def named(row: Row, rows: Iterable[Row]) -> str:
    """`refused/closed-port`, and the variant where the cause has several."""
    cause = f"{row.group}/{row.cause}"
    variants = {other.variant for other in rows if (other.group, other.cause) == (row.group, row.cause)}
    return f"{cause} {row.variant}".rstrip() if len(variants) > 1 else cause


def _ending(row: Row) -> tuple[str, ...]:
    if not row.observed:
        return (f"{row.verdict}: {'; '.join(row.reasons)}", "", "", "")
    unexpected = f" ({row.verdict}: {'; '.join(row.reasons)})" if row.verdict != "PASS" else ""
    return (f"{row.error or 'no error by name'}{unexpected}", row.phase or "", _time(row), _wire(row.wire))


def _time(row: Row) -> str:
    seconds, scaled = row.seconds, ", compressed" if row.timing == "compressed" else ""
    if seconds is None:
        return ""
    told = f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "< 1 ms"
    return told + scaled


def _wire(lines: Sequence[str]) -> str:
    more = [f"... {len(lines) - SEGMENTS} more"] if len(lines) > SEGMENTS else []
    return ", ".join([*lines[:SEGMENTS], *more]) or "nothing"


# -- the page


def page(atlas: Atlas) -> str:
    """Markdown: the errors with their causes, where the families differ, and every row by group."""
    return "\n".join([HEAD.format(**vars(atlas)), *_errors(atlas.rows), *_families(atlas.rows), *_groups(atlas.rows)])


def _errors(rows: Sequence[Row]) -> Iterator[str]:
    yield from ("## By error", "", "| error | phase | causes |", "|---|---|---|")
    ran: dict[str, set[str]] = {}
    for each in rows:
        ran.setdefault(named(each, rows), set()).add(each.family)
    for error, phase, those in by_error(rows):
        causes: dict[str, list[str]] = {}
        for each in those:
            causes.setdefault(named(each, rows), []).append(each.family)
        told = ", ".join(f"{cause}{_only(here, ran[cause])}" for cause, here in causes.items())
        yield f"| `{error}` | {phase or ''} | {told} |"
    yield ""


def _only(here: Sequence[str], ran: set[str]) -> str:
    """The families, where the cause ends otherwise over another."""
    return "" if set(here) == ran else f" ({', '.join(TITLES[family] for family in here)})"


def _families(rows: Sequence[Row]) -> Iterator[str]:
    """The causes that end in another way over IPv6."""
    found: dict[str, dict[str, str]] = {}
    for each in rows:
        if each.observed:
            end = f"`{each.error}`{f' in {each.phase}' if each.phase else ''}"
            found.setdefault(named(each, rows), {})[each.family] = end
    both = {cause: ends for cause, ends in found.items() if set(FAMILIES) <= ends.keys()}
    differ = {cause: ends for cause, ends in both.items() if len({ends[family] for family in FAMILIES}) > 1}
    if not differ:
        return
    titles = [TITLES[family] for family in FAMILIES]
    yield from ("## Where the families differ", "", f"| cause | {' | '.join(titles)} |", "|---|---|---|")
    for cause, ends in differ.items():
        yield f"| {cause} | {' | '.join(ends[family] for family in FAMILIES)} |"
    yield ""


def _groups(rows: Sequence[Row]) -> Iterator[str]:
    for group, those in groupby(rows, lambda row: row.group):
        yield from (f"## {group}", "", f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|")
        for cause, family, error, phase, after, wire in cells(list(those)):
            name = cause.partition("/")[2]
            yield f"| {name} | {TITLES[family]} | {_cell(error)} | {phase} | {after} | {_cell(wire)} |"
        yield ""


def _cell(text: str) -> str:
    return f"`{text}`" if "|" not in text else text.replace("|", "\\|")
