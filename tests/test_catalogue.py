"""docs/faults.md is what the faults say of themselves, each says all of it, and each is shown by a scenario."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from chaos import kinds
from chaos.catalogue import FIELDS, Parameter, entries, lines, markdown
from chaos.cli import main
from chaos.fields import Duration, NodeName, Port, Segments
from chaos.requires import NAMES
from tests.kinds import Inert
from tests.shipped import ROOT, cases


@dataclass(frozen=True)
class Everything(Inert):
    """A summary.

    A paragraph
    of two lines.

    Wire: a | b,
        and more.
    Linux: EPROTO.
    """

    requires: ClassVar[tuple[str, ...]] = ("root:", "match:bpf")

    at: NodeName
    segment: Segments = ("syn",)
    by: Duration | None = None
    port: Port = 80
    way: Literal["in", "out"] | None = "in"


def test_every_fault_tells_all_of_it() -> None:
    """Its summary, the four fields, a command to type, and what it requires, if it be nothing."""
    told = entries()
    assert [entry.kind for entry in told if not entry.summary.endswith(".")] == []
    assert {entry.kind: list(entry.told) for entry in told if list(entry.told) != list(FIELDS)} == {}
    assert [entry.kind for entry in told if not all(entry.told.values()) or "`" not in entry.told["By hand"]] == []
    assert [kind for kind, cls in kinds.faults().items() if "requires" not in vars(cls)] == []


def test_what_is_required_is_of_a_known_kind() -> None:
    parts = {**kinds.faults(), **kinds.clients()}
    required = {(name, each) for name, cls in parts.items() for each in getattr(cls, "requires", ())}
    assert {one for one in required if not re.fullmatch(rf"({'|'.join(NAMES)}):[A-Za-z0-9_./-]*", one[1])} == set()


def test_every_fault_is_shown_by_a_scenario() -> None:
    assert set(kinds.faults()) - {kind for case in cases() for kind, _ in case.faults} == set()


def test_the_page_is_what_the_faults_say() -> None:
    page = (ROOT / "docs" / "faults.md").read_text()
    assert page == markdown(entries()), "connect-chaos faults --markdown > docs/faults.md"


def test_an_entry_is_read_from_the_class() -> None:
    [entry] = entries({"everything": Everything})
    assert (entry.kind, entry.summary, entry.more) == ("everything", "A summary.", "A paragraph of two lines.")
    assert entry.told == {"Wire": "a | b, and more.", "Linux": "EPROTO."}
    assert entry.requires == ("root:", "match:bpf")
    assert entry.parameters == [
        Parameter("at", "a node", None),
        Parameter("segment", "syn, syn-ack, ack, data, fin, rst, any or a list of them", "syn"),
        Parameter("by", "a duration such as 20ms", ""),
        Parameter("port", "an integer from 1 to 65535", "80"),
        Parameter("way", "in, out", "in"),
    ]
    page = markdown([entry])
    assert "| On the wire | a \\| b, and more. |" in page
    assert "| `at` | a node | required |" in page
    assert "| Requires | `root:`, `match:bpf` |" in page
    assert "port: an integer from 1 to 65535; 80 unless given" in "\n".join(lines(entry))


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "drop", "closed-port"]) == 0
    out = capsys.readouterr().out
    assert [line.partition(":")[0] for line in out.splitlines() if line[:1].strip()] == ["closed-port", "drop"]
    assert main(["faults", "--json", "drop"]) == 0
    assert json.loads(capsys.readouterr().out)["told"]["Linux"].startswith("of a SYN")
    assert main(["faults", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown(entries())
    assert main(["faults", "dorp"]) == 2
    assert "unknown fault `dorp` (did you mean 'drop'?)" in capsys.readouterr().err
