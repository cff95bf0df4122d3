"""What a fault or a client requires of the kernel and of the machine, probed in a node before anything is attempted.

A class declares it, as `KIND:NAME`; what only some of its parameters need, `needs(setting)` narrows down:

    requires: ClassVar[tuple[str, ...]] = ("program:iptables", "match:connlimit")

    program:iptables      a program on the PATH of the node (of iptables: the one of the scenario's family)
    match:connlimit       a match of iptables, in the program and in the kernel
    target:REJECT         a target, likewise
    sysctl:net/ipv4/...   a sysctl that the node's namespace has, and that can be written
    python:dns            a module that the node's interpreter can import
    root:                 real root, not that of a user namespace

What is absent is ToolMissing: a skip with the reason and the mend. Each is asked once a session of a backend.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from chaos.backends.channel import INSTALL
from chaos.errors import ToolMissing
from chaos.model import Node, Setting

TOOLS: Final = {"ipv4": "iptables", "ipv6": "ip6tables"}
PACKAGES: Final = {"dns": "dnspython", "dnslib": "dnslib", "yaml": "pyyaml"}
"""Python modules whose distribution has another name."""
NAMES: Final = {
    "program": "{name}",
    "match": "{tool} -m {name}",
    "target": "{tool} -j {name}",
    "sysctl": "sysctl {name}",
    "python": "python module {name}",
    "root": "root",
}
WHYS: Final = {
    ("program", "absent"): ("not found", "install it with: {install}"),
    ("match", "absent"): ("iptables has no such match", "install it with: apt-get install iptables"),
    ("match", "no-module"): ("this kernel does not have it", "sudo modprobe xt_{name}"),
    ("target", "absent"): ("iptables has no such target", "install it with: apt-get install iptables"),
    ("target", "no-module"): ("this kernel does not have it", "sudo modprobe xt_{name} (or ipt_{name}, ip6t_{name})"),
    ("sysctl", "absent"): ("this kernel does not have it", "a newer kernel, or the module that brings it, has it"),
    ("sysctl", "read-only"): ("it cannot be written here", "run as root"),
    ("python", "absent"): ("not found", "install it with: pip install {install}"),
    ("root", "absent"): ("needed, and that of a user namespace will not do", "run it as root: sudo"),
}
"""(why, mend) by kind and by what chaos/agent/lacks.py answers."""


class Lab(Protocol):
    """What a probe needs of a running lab."""

    @property
    def setting(self) -> Setting: ...
    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def answers(self) -> Answers: ...


class Answers:
    """What the nodes of one session have been asked for, and what they lack; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], str | None] = {}

    def of(self, node: Node, tool: str, required: Iterable[str]) -> dict[str, str]:
        """{requirement: why} of those that are absent; what nobody has asked for yet is asked of this node."""
        wanted = [(tool, each) for each in required]
        if not all(key in self._known for key in wanted):
            with self._lock:  # whoever comes meanwhile waits for this answer and does not ask again
                asked = [each for each in dict.fromkeys(wanted) if each not in self._known]
                if asked:
                    absent = node.call("lacks", asked=[name for _, name in asked], tool=tool) or {}
                    self._known.update({key: absent.get(key[1]) for key in asked})
        return {name: why for _, name in wanted if (why := self._known[tool, name]) is not None}


def of(part: object, setting: Setting) -> tuple[str, ...]:
    """What a fault or a client requires in this setting."""
    needs = getattr(part, "needs", None)
    found: tuple[str, ...] = needs(setting) if needs else getattr(part, "requires", ())
    return found


def check(parts: Iterable[object], lab: Lab) -> None:
    """Raise ToolMissing for the first thing that these faults and clients require and the lab's nodes lack."""
    required = [each for part in parts for each in of(part, lab.setting)]
    if not required:
        return
    tool = TOOLS[lab.setting.family]
    absent = lab.answers.of(lab.nodes[lab.setting.client], tool, required)
    for requirement, why in absent.items():
        raise missing(requirement, why, tool)


def missing(requirement: str, why: str, tool: str) -> ToolMissing:
    """The error for one that is absent."""
    kind, _, name = requirement.partition(":")
    reason, mend = WHYS[kind, why]
    known = PACKAGES if kind == "python" else INSTALL
    install = known.get(name, name if kind == "python" else f"apt-get install {name}")
    shown = tool if requirement == "program:iptables" else NAMES[kind].format(name=name, tool=tool)
    return ToolMissing(shown, mend.format(name=name, install=install), reason)
