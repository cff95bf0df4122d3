"""Leaving a fault leaves no trace in a real lab: what the kernel says of every node is what it said before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from chaos import requires
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.model import Fault, Setting
from tests.test_faults import ARMING, parsed

FAULTS = [name for name in ARMING if not name.startswith(("toxic", "proxy-down"))]
ASKS = {
    "addresses": ["ip", "-json", "address", "show"],
    "routes": ["ip", "-json", "route", "show", "table", "all"],
    "routes6": ["ip", "-6", "-json", "route", "show", "table", "all"],
    "rules": ["ip", "-json", "rule", "show"],
    "neighbours for good": ["ip", "-json", "neigh", "show", "nud", "permanent"],
    "ARP": ["ip", "ntable", "show", "name", "arp_cache"],
    "ND": ["ip", "ntable", "show", "name", "ndisc_cache"],
    "iptables": ["iptables-save"],
    "ip6tables": ["ip6tables-save"],
}
CHANGING = re.compile(
    r"^[#:*].*|^COMMIT$|last .*|hash_.*|entries \d+.*|(lookups|hits|res_failed).*|qlen \d+|refcnt \d+ reachable \d+",
    re.MULTILINE,
)
"""Counters, times, and tables without rules."""
SYSCTLS = (
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_abort_on_overflow",
    *(f"net/ipv4/conf/{interface}/{name}" for interface in ("all", "eth0") for name in ("rp_filter", "arp_ignore")),
    "net/ipv6/conf/eth0/accept_dad",
)


Known = tuple[AgentLab, Mapping[str, str]]
"""A lab, and what was said of it when it was new."""


@pytest.fixture(scope="module")
def labs() -> Iterator[Callable[[Setting], Known]]:
    """One lab for each setting: what a fault leaves behind would be found again after the next."""
    known: dict[str, Known] = {}
    with ExitStack() as stack:
        session = stack.enter_context(Netns())

        def lab_of(setting: Setting) -> Known:
            if str(setting) not in known:
                lab = stack.enter_context(session.start(setting))
                lab.quiesce()
                known[str(setting)] = lab, said(lab)
            return known[str(setting)]

        yield lab_of


def said(lab: AgentLab) -> Mapping[str, str]:
    """Everything, by node and question."""
    answers = {}
    for name, node in lab.nodes.items():
        for ask, argv in ASKS.items():
            answers[f"{name}: {ask}"] = _settled(ask, node.call("command", argv=argv))
        answers[f"{name}: sysctls"] = str(node.call("sysctl", read=list(SYSCTLS)))
    return answers


def _settled(ask: str, text: str) -> str:
    if not text.startswith("["):
        return "\n".join(line for line in CHANGING.sub("", text).splitlines() if line.strip())
    kept = [each for each in json.loads(text) if each.get("protocol") != "kernel"]
    found = [json.dumps(_lasting(each), sort_keys=True) for each in kept]
    return "\n".join(sorted(found))


def _lasting(each: dict[str, Any]) -> dict[str, Any]:
    """Without what the kernel comes to by itself, in its own time."""
    if "ifname" in each:
        return {"name": each["ifname"], "up": "UP" in each["flags"], "addresses": each.get("addr_info")}
    return {key: value for key, value in each.items() if key != "used"}


def arm_and_leave(fault: Fault, lab: AgentLab) -> None:
    """All of a fault but an attempt."""
    try:
        requires.check([fault], lab)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with fault.inject(lab) as armed:
        armed.hits()
    lab.quiesce()


@pytest.mark.slow("what the kernel says of all nodes of a real lab, after each fault")
@pytest.mark.parametrize("name", FAULTS)
def test_a_real_lab_is_as_it_was(name: str, labs: Callable[[Setting], Known]) -> None:
    fault, where = parsed(name)
    lab, before = labs(where)
    arm_and_leave(fault, lab)
    assert said(lab) == before
