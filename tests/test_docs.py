"""What the documentation says is what happens: its scenarios pass, its packets are seen."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from chaos import kinds, wire
from chaos.clients._steps import Options, To, Word
from chaos.faults._messages import NUMBERS
from chaos.faults.toxic import ATTRIBUTES
from chaos.icmp import errno_name
from tests.shipped import ROOT, files, name, results

HANDSHAKE = ROOT / "docs" / "handshake.md"
OF_SOCKETS = ("connect", "established", "udp", "raw", "unix", "domains")
"""The groups of docs/sockets.md."""
ELSEWHERE = ("toxiproxy", "names", "dual-stack", "wire", "icmp", *OF_SOCKETS)
"""The groups that have pages of their own."""
PAGES = (HANDSHAKE, ROOT / "docs" / "paths.md")
GROUPS = "|".join(sorted({name(file).partition("/")[0] for file in files()} - {*ELSEWHERE}))
NAMED = re.compile(rf"`((?:{GROUPS})/[a-z0-9-]+)`")
QUOTED = re.compile(r"```packets (\S+)(?: (\S+))?\n(.*?)```", re.DOTALL)
TIME = re.compile(r"^ *[\d.]+ ms *")


def quotes() -> Iterator[tuple[str, str, list[str]]]:
    """(scenario, node, packets without their times) of each quotation."""
    for scenario, node, text in QUOTED.findall(HANDSHAKE.read_text()):
        yield scenario, node or "client", without_times(text.splitlines())


def without_times(lines: Iterable[str]) -> list[str]:
    """A table's packets without what differs from run to run: times, and how often one was repeated."""
    return [line for line, _ in groupby(TIME.sub("", line) for line in lines)]


def named_scenarios() -> set[str]:
    """Those that the pages name."""
    return {found for page in PAGES for found in NAMED.findall(page.read_text())}


def test_the_pages_name_every_scenario_and_none_that_does_not_exist() -> None:
    elsewhere = ("timeout/default-schedule", *(f"{group}/" for group in ELSEWHERE))
    shipped = {name(file) for file in files() if not name(file).startswith(elsewhere)}
    assert named_scenarios() == shipped


@pytest.mark.slow("every named scenario is run; the kernel's timers take three seconds")
def test_every_scenario_that_the_pages_name_passes() -> None:
    named = named_scenarios()
    judged = {key: result.verdict for key, result in results().items() if key[0] in named}
    assert {key[0] for key in judged} == named
    assert {key: verdict.reasons for key, verdict in judged.items() if verdict.kind != "PASS"} == {}


@pytest.mark.parametrize(("scenario", "node", "quoted"), list(quotes()), ids=lambda value: str(value)[:40])
@pytest.mark.slow("the scenarios are run once for all of these tests")
def test_the_quoted_packets_are_what_a_run_sees(scenario: str, node: str, quoted: list[str]) -> None:
    result = next(result for (file, _), result in results().items() if file == scenario)
    assert result.evidence is not None
    seen = without_times(wire.table(result.evidence.packets[node]))
    assert seen[: len(quoted)] == quoted  # whether a last ACK leaves before the client returns is a race


def test_the_readme_lists_every_fault_and_every_client() -> None:
    readme = Path(ROOT / "README.md").read_text()
    first = re.findall(r"^\| (`[^|]*)\|", readme, re.MULTILINE)
    rows = [name for cell in first for name in re.findall(r"`([a-z-]+)", cell)]
    missing = [kind for kind in [*kinds.faults(), *kinds.clients()] if kind not in rows]
    assert missing == []


def test_the_architecture_page_is_short_and_names_only_what_is_there() -> None:
    page = Path(ROOT / "ARCHITECTURE.md").read_text()
    assert len(page.splitlines()) <= 80
    named = re.findall(r"`((?:chaos|tests|scenarios|compose|docs|benchmarks|scripts)/[A-Za-z0-9_./-]*)`", page)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_sockets_page_names_its_scenarios_and_every_word_of_the_client() -> None:
    page = (ROOT / "docs" / "sockets.md").read_text()
    named = set(re.findall(rf"`((?:{'|'.join(OF_SOCKETS)})/[a-z0-9-]+)`", page))
    assert named == {name(file) for file in files() if name(file).partition("/")[0] in OF_SOCKETS}
    words = [*get_args(Word), *(field.name for field in fields(Options))]
    words += [f"{{connect: {place}}}" for place in get_args(get_type_hints(To)["connect"])]
    assert [word for word in words if f"`{word}" not in page and f"{word}`" not in page] == []


def test_the_page_on_names_names_its_scenarios() -> None:
    page = Path(ROOT / "docs" / "names.md").read_text()
    named = set(re.findall(r"`((?:names|dual-stack)/[a-z0-9-]+)`", page))
    assert named == {name(file) for file in files() if name(file).startswith(("names/", "dual-stack/"))}


@pytest.mark.slow("every named scenario is run; some wait three seconds for the kernel")
def test_every_scenario_of_the_page_on_names_passes() -> None:
    judged = {key: it.verdict for key, it in results().items() if key[0].startswith(("names/", "dual-stack/"))}
    assert {key: verdict.reasons for key, verdict in judged.items() if verdict.kind != "PASS"} == {}


def test_the_toxiproxy_page_names_its_scenarios_and_every_toxic() -> None:
    page = Path(ROOT / "docs" / "toxiproxy.md").read_text()
    named = set(re.findall(r"`(toxiproxy/[a-z-]+)`", page))
    assert named == {name(file) for file in files() if name(file).startswith("toxiproxy/")}
    for toxic, attributes in ATTRIBUTES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{toxic}`"))
        assert [attribute for attribute in attributes if f"`{attribute}`" not in row] == []


@pytest.mark.slow("every named scenario is run; one waits three seconds for the kernel")
def test_every_scenario_of_the_toxiproxy_page_passes() -> None:
    judged = {key: result.verdict for key, result in results().items() if key[0].startswith("toxiproxy/")}
    assert {key: verdict.reasons for key, verdict in judged.items() if verdict.kind != "PASS"} == {}


def test_the_wire_page_names_its_scenarios_and_every_error_s_end() -> None:
    page = Path(ROOT / "docs" / "wire.md").read_text()
    named = set(re.findall(r"`((?:wire|icmp)/[a-z0-9-]+)`", page))
    assert named == {name(file) for file in files() if name(file).startswith(("wire/", "icmp/"))}
    told = {family: dict(errors_told(page, column)) for family, column in (("icmp", 0), ("icmpv6", 2))}
    assert told["icmp"].keys() == {f"{kind}/{code}" for kind, code in NUMBERS["ipv4"].values()}
    assert told["icmpv6"].keys() == {f"{kind}/{code}" for kind, code in NUMBERS["ipv6"].values()}
    for protocol, errors in told.items():
        for numbers, error in errors.items():
            surfaced = errno_name(protocol, *map(int, numbers.split("/")))
            assert error == (normal(surfaced) if surfaced else "nothing: ETIMEDOUT"), numbers


def errors_told(page: str, column: int) -> Iterator[tuple[str, str]]:
    """(type/code, error) of the page's table of ICMP errors; of several errors in a cell, one for each code."""
    for row in re.findall(r"^\| (\d+/\d.*) \|$", page, re.MULTILINE):
        cells = row.split(" | ")
        codes, errors = cells[column].split(", "), cells[column + 1].split(", ")
        yield from zip(codes, map(normal, errors * (len(codes) if len(errors) == 1 else 1)), strict=True)


def normal(error: str) -> str:
    """Of the two names of one number, Python's."""
    number = getattr(errno, error, None)
    return errno.errorcode[number] if number else error


@pytest.mark.slow("every named scenario is run; some wait three seconds for the kernel")
def test_every_scenario_of_the_wire_page_passes() -> None:
    judged = {key: result.verdict for key, result in results().items() if key[0].startswith(("wire/", "icmp/"))}
    assert {key: verdict.reasons for key, verdict in judged.items() if verdict.kind != "PASS"} == {}
    assert {key[0] for key in judged} == {name(file) for file in files() if name(file).startswith(("wire/", "icmp/"))}
