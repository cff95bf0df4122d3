"""The neighbour tables of the host: how much of them labs need, how many labs that makes, and what an overflow is."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import neighbours
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.model import Family, Setting
from chaos.neighbours import NEIGHBOURS
from chaos.pool import Pool
from chaos.run import Idle
from chaos.scenario import Case
from tests.labs import TOPOLOGY, session
from tests.test_check import DROPPED, TIMED_OUT, judged, seen
from tests.test_pool import PATIENCE, case

__all__ = ["session"]

HEAD = "entries  allocs   table_fulls\n"


@pytest.mark.parametrize(("family", "behind"), [("ipv4", "169.254.0.1"), ("ipv6", "fe80::2")])
def test_a_lab_takes_no_more_of_the_table_than_it_is_counted_for(session: Netns, family: Family, behind: str) -> None:
    """`ip neighbour` says what the kernel has; what is permanent takes no room, and what needs no ARP is given up."""
    setting = Setting(TOPOLOGY, family=family)
    with session.start(setting) as lab:
        assert Socket().attempt(lab).error == "ok"
        found = [
            line.split()
            for node in lab.nodes.values()
            for line in str(node.call("command", argv=["ip", "neighbour", "show", "nud", "all"])).splitlines()
        ]
    permanent = [words[0] for words in found if words[-1] == "PERMANENT"]
    assert permanent == [behind], "the wire's"
    counted = [words for words in found if words[-1] not in ("PERMANENT", "NOARP")]
    assert 4 <= len(counted) <= neighbours.of(setting), counted


def test_labs_that_live_at_once_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine cases, and room for three of them."""
    monkeypatch.setattr(neighbours, "room", lambda: 3 * neighbours.of(case("any").setting) + 1)
    together, alive, most = threading.Barrier(3, timeout=PATIENCE), set[str](), list[int]()

    def work(one: Case, idle: Idle) -> None:
        alive.add(one.name)
        with idle():
            together.wait()
            most.append(len(alive))
            together.wait()
        alive.discard(one.name)

    for result in Pool(work, 4).start([case(str(number)) for number in range(9)]):
        result.result(PATIENCE)
    assert max(most) == 3


def test_a_lab_that_is_larger_than_all_room_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "room", lambda: 1)
    results = Pool(lambda one, _: one.name, 4).start([case("a"), case("b")])
    assert [result.result(PATIENCE) for result in results] == ["a", "b"]


def test_the_smaller_table_says_how_much_room_there_is_and_workers_share_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    thresholds = [tmp_path / "ipv4", tmp_path / "ipv6"]
    monkeypatch.setattr(neighbours, "THRESHOLDS", [str(path) for path in thresholds])
    assert neighbours.room() == 870, "nobody says, in a network namespace that is not the first: it is Linux's own"
    thresholds[0].write_text("4096\n")
    assert neighbours.room() == 3481
    thresholds[1].write_text("400\n")
    assert neighbours.room() == 340
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    assert neighbours.room() == 113


def test_overflows_are_counted_on_every_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "arp_cache"
    monkeypatch.setattr(neighbours, "TABLES", {"ipv4": str(table), "ipv6": str(tmp_path / "none")})
    assert neighbours.overflows(["ipv4"]) == 0, "a container is not told"
    table.write_text(HEAD + "0000000a 00000001 00000010\n0000000a 00000002 0000000a\n")
    assert neighbours.overflows(["ipv4", "ipv6"]) == 26


def test_this_kernel_tells_of_overflows() -> None:
    for table in neighbours.TABLES.values():
        assert neighbours.FULL in Path(table).read_bytes().split()


def test_an_overflow_while_a_lab_lives_is_told(session: Netns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "arp_cache"
    monkeypatch.setattr(neighbours, "TABLES", {"ipv4": str(table)})
    table.write_text(HEAD + "0000000a 00000001 00000010\n")
    with session.start(Setting(TOPOLOGY)) as lab:
        assert not any(lab.lost.values())
        table.write_text(HEAD + "0000000a 00000001 00000012\n")
        assert lab.lost == {"client": 0, "server": 0, NEIGHBOURS: 2}


def test_an_overflow_makes_a_run_invalid() -> None:
    evidence = replace(seen(*DROPPED, error="ETIMEDOUT"), lost={"client": 0, NEIGHBOURS: 2})
    found = judged(TIMED_OUT, evidence)
    assert found.kind == "INVALID"
    assert found.reasons[0].startswith(f"{NEIGHBOURS}: the kernel had no room in them 2 times")
    assert "net.ipv4.neigh.default.gc_thresh3" in found.reasons[0]
