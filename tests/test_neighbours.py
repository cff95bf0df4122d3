"""The neighbour tables of the host: labs take none of their room, and an overflow is told."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from chaos import neighbours
from chaos.agent.netlink import Netlink
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.faults.link_down import LinkDown
from chaos.model import Family, Setting
from chaos.neighbours import NEIGHBOURS
from tests.forked import forked
from tests.labs import TOPOLOGY, session
from tests.test_check import DROPPED, TIMED_OUT, judged, seen
from tests.test_nothing_left import enter_namespaces

__all__ = ["session"]

HEAD = "entries  allocs   table_fulls\n"


@pytest.mark.parametrize("path", ["routed", "direct"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_no_entry_of_a_lab_takes_room(session: Netns, family: Family, path: Literal["routed", "direct"]) -> None:
    """`ip neighbour` says what the kernel has: what is permanent or marked does not count, multicast is given up."""
    with session.start(Setting(TOPOLOGY, family=family, path=path)) as lab:
        assert Socket().attempt(lab).error == "ok"
        used = entries(lab)
        assert len([words for words in used if "lladdr" in words and "extern_learn" in words]) >= 2
        assert [words for words in used if counts(words)] == []
        lab.quiesce()
        assert [words for words in entries(lab) if counts(words)] == []


@pytest.mark.slow("a link without a carrier loses its entries, and the neighbour is asked for again")
def test_an_entry_that_went_with_its_link_is_reserved_again(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY)) as lab:
        before = entries(lab)
        with LinkDown("server").inject(lab):
            assert len(entries(lab)) < len(before)
        assert Socket().attempt(lab).error == "ok"
        lab.quiesce()
        assert sorted(entries(lab)) == sorted(before)


def test_an_entry_that_has_been_learnt_meanwhile_is_reserved_all_the_same() -> None:
    assert forked(learnt_and_reserved) == "198.18.0.2 dev one extern_learn"


def learnt_and_reserved() -> str:
    """What `ip neighbour` says of it then, in a network of its own."""
    enter_namespaces()
    with Netlink() as netlink:
        netlink.veth("one", "other")
        netlink.set_up("other")
        where = ["198.18.0.2", "dev", "one"]
        subprocess.run(["ip", "neigh", "add", *where, "lladdr", "02:00:00:00:00:01", "nud", "reachable"], check=True)
        netlink.reserve_neighbour("198.18.0.2", "one")
        shown = subprocess.run(["ip", "neigh", "show", *where[:1], "nud", "all"], check=True, capture_output=True)
    return " ".join(shown.stdout.decode().split())


def entries(lab: AgentLab) -> list[list[str]]:
    """What `ip neighbour` says of each node, in words."""
    asked = ["ip", "neighbour", "show", "nud", "all"]
    return [line.split() for node in lab.nodes.values() for line in str(node.call("command", argv=asked)).splitlines()]


def counts(words: list[str]) -> bool:
    """Whether the kernel counts an entry, and cannot do without it (neigh_alloc(), neigh_forced_gc())."""
    return "extern_learn" not in words and words[-1] not in ("PERMANENT", "NOARP")


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
