"""The atlas: its rows are what runs have seen, the shipped one is what this kernel does, and two can be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.atlas import (
    FAMILIES,
    Atlas,
    Row,
    differences,
    differing,
    dumps,
    loads,
    moment,
    ordered,
    row,
    series,
    strangers,
)
from chaos.atlaspage import cells, page
from chaos.cli import main
from chaos.errors import ToolMissing
from chaos.scenario import Case
from chaos.schedule import Schedule, syn_schedule
from tests.shipped import ROOT, SCENARIOS, Ended, cases, ended, side_by_side

SHIPPED = ROOT / "docs" / "atlas.json"
RENEW = "connect-chaos atlas --output docs"

REFUSED = Row(
    id="scenarios/refused/closed.chaos.yaml::ipv4",
    group="refused",
    cause="closed",
    variant="",
    faults=("closed-port at server",),
    family="ipv4",
    timing="short",
    verdict="PASS",
    error="ECONNREFUSED",
    phase="connect",
    seconds=0.0021,
    moment="before a retransmission",
    wire=("> syn", "< rst"),
)
OVER_IPV6 = replace(REFUSED, id="scenarios/refused/closed.chaos.yaml::ipv6", family="ipv6")


def atlas(*rows: Row, kernel: str = "6.18.44") -> Atlas:
    return Atlas(kernel, "2026-11-22", "socket", ordered(rows))


# -- the shipped one


@pytest.mark.slow("every shipped scenario is run; the kernel's timers take three seconds")
def test_the_shipped_atlas_is_what_this_kernel_does() -> None:
    """What ended otherwise on a busy machine is run once more, by itself.

    On a kernel of another series a difference is no fault of ours: the test is skipped, and tells them all.
    """
    asked = {row.key: (case, row) for case, row in zip(cases(), _rows(cases(), ended().values()), strict=True)}
    assert len(asked) == len(cases()), "two cases of one name"
    shipped = loads(SHIPPED.read_text())
    here = Atlas(
        os.uname().release, "", "socket", tuple(row for case, row in asked.values() if case.adapter == "socket")
    )
    assert strangers(shipped, here) == [], RENEW
    doubtful = [asked[now.key][0] for _, now in differing(shipped, here)]
    again = replace(here, rows=ordered(_rows(doubtful, side_by_side(doubtful))))
    found = differences(shipped, again)
    if found and series(shipped.kernel) != series(here.kernel):
        pytest.skip("; ".join(found))
    assert found == [], RENEW


def _rows(those: Sequence[Case], ends: Iterable[Ended]) -> list[Row]:
    return [_row(case, end) for case, end in zip(those, ends, strict=True)]


def _row(case: Case, end: Ended) -> Row:
    if isinstance(end, ToolMissing):
        return row(case, "SKIP", [str(end)], None)
    return row(case, end.verdict.kind, end.verdict.reasons, end)


def test_the_page_is_the_shipped_data() -> None:
    shipped = loads(SHIPPED.read_text())
    assert (ROOT / "docs" / "atlas.md").read_text() == page(shipped), RENEW
    assert dumps(shipped) == SHIPPED.read_text(), RENEW


def test_every_row_of_the_shipped_atlas_was_believed_and_expected() -> None:
    """No gap is shipped: what is in it has passed, and every fault is over both families wherever a scenario has it."""
    shipped = loads(SHIPPED.read_text())
    assert [each.id for each in shipped.rows if each.verdict not in ("PASS", "XFAIL")] == []
    assert {each.family for each in shipped.rows} >= set(FAMILIES)
    groups = {case.file.parent.name for case in cases() if case.adapter == "socket"}
    assert groups == {each.group for each in shipped.rows}


# -- rows


@pytest.mark.slow("the scenarios are run once for all of these tests")
def test_a_row_is_what_the_run_has_seen() -> None:
    """Of a real run; the scenario's expectation is not asked."""
    key, found = next((key, found) for key, found in ended().items() if key == ("refused/firewall-reset", "ipv6"))
    assert not isinstance(found, ToolMissing)
    case = replace(found.case, expect=replace(found.case.expect, error="ETIMEDOUT"))
    seen = row(case, "PASS", [], found)
    assert seen.id.endswith(f"scenarios/{key[0]}.chaos.yaml::ipv6")
    assert seen.key == ("refused", "firewall-reset", "", "ipv6")
    assert (seen.faults, seen.error, seen.phase) == (("reset at router",), "ECONNREFUSED", "connect")
    assert (seen.wire, seen.moment) == (("> syn", "< rst"), "before a retransmission")


@pytest.mark.slow("the scenarios are run once for all of these tests")
def test_what_is_not_believed_shows_nothing_but_why() -> None:
    case = next(case for case in cases() if case.faults)
    found = next(found for found in ended().values() if not isinstance(found, ToolMissing))
    for verdict in ("INVALID", "SKIP"):
        kept = row(case, verdict, ["drop at server: 0 hits"], found)
        assert (kept.error, kept.phase, kept.seconds, kept.wire) == (None, None, None, ())
        [line] = cells([kept])
        assert line[2:] == (f"{verdict}: drop at server: 0 hits", "", "", "")


@pytest.mark.parametrize(
    ("seconds", "schedule", "expected"),
    [
        (0.0, syn_schedule(1), "before a retransmission"),
        (0.98, syn_schedule(1), "before a retransmission"),
        (1.03, syn_schedule(1), "during the SYN schedule"),
        (2.90, syn_schedule(1), "during the SYN schedule"),
        (3.03, syn_schedule(1), "after the SYN schedule"),
        (131.2, syn_schedule(6, 4), "after the SYN schedule"),
        (2.0, Schedule((0.0,), 1.0), "after the SYN schedule"),
        (None, syn_schedule(1), None),
        (1.0, None, None),
    ],
)
def test_a_time_s_class_is_its_place_in_the_schedule(
    seconds: float | None, schedule: Schedule | None, expected: str | None
) -> None:
    assert moment(seconds, schedule) == expected


# -- two of them


def test_an_atlas_differs_from_itself_in_nothing() -> None:
    one = atlas(REFUSED, OVER_IPV6)
    late = atlas(replace(REFUSED, seconds=0.4, id="/elsewhere::ipv4"), OVER_IPV6)
    assert (strangers(one, late), differences(one, late)) == ([], [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"error": "ETIMEDOUT"}, "ETIMEDOUT in connect before a retransmission"),
        ({"phase": "receive"}, "ECONNREFUSED in receive before a retransmission"),
        ({"moment": "during the SYN schedule"}, "ECONNREFUSED in connect during the SYN schedule"),
        ({"verdict": "INVALID", "reasons": ("baseline: failed",)}, "INVALID (baseline: failed)"),
    ],
)
def test_what_ended_otherwise_is_told_with_both_kernels(change: dict[str, object], told: str) -> None:
    [line] = differences(atlas(REFUSED), atlas(replace(REFUSED, **change), kernel="5.10.1"))  # type: ignore[arg-type]
    before = "ECONNREFUSED in connect before a retransmission on Linux 6.18.44"
    assert line == f"{REFUSED.id}: {before}, and {told} on Linux 5.10.1"


def test_what_was_skipped_is_no_difference_and_what_is_missing_is_told() -> None:
    skipped = replace(REFUSED, verdict="SKIP", error=None, reasons=("no Toxiproxy",))
    assert differences(atlas(REFUSED), atlas(skipped)) == []
    assert strangers(atlas(REFUSED), atlas(OVER_IPV6)) == [
        f"{OVER_IPV6.id}: not in the shipped atlas",
        f"{REFUSED.id}: in the shipped atlas, and no scenario",
    ]


def test_series() -> None:
    assert series("6.18.44-generic") == series("6.18.1") != series("6.8.0")


# -- the page


def test_the_page_has_the_errors_their_causes_and_where_the_families_differ() -> None:
    prohibited = replace(REFUSED, cause="wall", error="EHOSTUNREACH", wire=())
    text = page(atlas(REFUSED, OVER_IPV6, prohibited, replace(prohibited, family="ipv6", error="EACCES", seconds=3.1)))
    assert "**Linux 6.18.44**, 2026-11-22" in text
    assert "| `ECONNREFUSED` | connect | refused/closed |" in text
    assert "| `EACCES` | connect | refused/wall (IPv6) |" in text
    assert "| refused/wall | `EHOSTUNREACH` in connect | `EACCES` in connect |" in text
    assert "| closed | IPv6 | `ECONNREFUSED` | connect | 2 ms | `> syn, < rst` |" in text
    assert "| wall | IPv6 | `EACCES` | connect | 3.10 s | `nothing` |" in text


def test_variants_are_named_where_there_are_several() -> None:
    one, other = replace(REFUSED, variant="blocking"), replace(REFUSED, variant="poll")
    assert [line[0] for line in cells([one])] == ["refused/closed"]
    assert [line[0] for line in cells([one, other])] == ["refused/closed blocking", "refused/closed poll"]


def test_what_failed_shows_what_came_and_why_it_should_not() -> None:
    failed = replace(REFUSED, verdict="FAIL", reasons=("error: expected ETIMEDOUT, got ECONNREFUSED",))
    [line] = cells([failed])
    assert line[2] == "ECONNREFUSED (FAIL: error: expected ETIMEDOUT, got ECONNREFUSED)"


# -- the command


@pytest.mark.slow("runs four labs, three times")
def test_the_command_runs_prints_writes_and_compares(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chosen = [str(SCENARIOS / "refused" / f"{name}.chaos.yaml") for name in ("firewall-reset", "icmp-port-unreachable")]
    assert main(["atlas", *chosen, "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    written = loads((tmp_path / "atlas.json").read_text())
    assert [(each.cause, each.family, each.error) for each in written.rows] == [
        (cause, family, "ECONNREFUSED") for cause in ("firewall-reset", "icmp-port-unreachable") for family in FAMILIES
    ]
    assert (tmp_path / "atlas.md").read_text() == page(written)
    assert main(["atlas", *chosen, "--against", str(tmp_path / "atlas.json")]) == 0
    assert capsys.readouterr().out == f"nothing ended otherwise than on Linux {written.kernel}\n"
    assert main(["atlas", chosen[0], "--against", str(tmp_path / "atlas.json")]) == 0
    assert capsys.readouterr().out.startswith("nothing ended otherwise")
    other = replace(written, rows=(replace(written.rows[0], error="EPROTO"), *written.rows[1:]))
    (tmp_path / "other.json").write_text(dumps(other))
    assert main(["atlas", *chosen, "--against", str(tmp_path / "other.json")]) == 1
    assert "EPROTO in connect" in capsys.readouterr().out


@pytest.mark.slow("runs a lab or two, three times")
def test_the_command_prints_a_table_a_page_or_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = str(SCENARIOS / "refused" / "firewall-reset.chaos.yaml::ipv6")
    assert main(["atlas", chosen]) == 0
    kernel, headings, line = capsys.readouterr().out.splitlines()
    assert kernel == f"Linux {os.uname().release}"
    assert headings.split() == ["cause", "family", "error", "phase", "after", "wire"]
    assert line.split()[:4] == ["refused/firewall-reset", "ipv6", "ECONNREFUSED", "connect"]
    assert main(["atlas", "--json", chosen]) == 0
    assert [each["error"] for each in json.loads(capsys.readouterr().out)["rows"]] == ["ECONNREFUSED"]
    assert main(["atlas", "--markdown", chosen]) == 0
    assert capsys.readouterr().out.startswith("# The atlas")


def test_wrong_input_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chosen = str(SCENARIOS / "refused" / "firewall-reset.chaos.yaml")
    assert main(["atlas", "--client", "curl", chosen]) == 2
    assert "no case has the client curl" in capsys.readouterr().err
    (tmp_path / "a.json").write_text("[]")
    assert main(["atlas", "--against", str(tmp_path / "a.json"), chosen]) == 2
    assert "no atlas.json of connect-chaos" in capsys.readouterr().err
    assert main(["atlas", "--against", str(tmp_path / "b.json"), chosen]) == 2
    assert "No such file or directory" in capsys.readouterr().err
