"""`dead-address {at}`: the target's name leads to two addresses, and the first of them is dead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.faults._armed import Touching
from chaos.faults._rules import FIREWALL
from chaos.faults._swallowed import looked_up, swallowed
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Setting


@dataclass(frozen=True)
class DeadAddress:
    """At this node the target's name leads to two addresses of the family: one that swallows everything, then its own.

    Wire: SYNs go to the first address and nothing comes back; when the client tries the second, it is answered.
    By hand: `sed -i '1i 198.19.255.254 server' /etc/hosts`
    Linux: getaddrinfo() returns both, in this order (RFC 6724 finds no difference, or prefers the first); a client that
        tries one after the other waits for the whole SYN schedule, one that takes only the first fails with ETIMEDOUT.
    Imitates: one of several replicas behind a name has died, and its record is still there.
    """

    requires: ClassVar[tuple[str, ...]] = FIREWALL

    at: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The name must be looked up there, and there must be a router to swallow."""
        return looked_up(self.at, setting, "dead-address")

    def effect(self, setting: Setting) -> Effect:
        """Silence from the first address; whoever tries the second meets a healthy one."""
        says = (
            f"at {self.at} the target's name leads to two addresses: first to one that belongs to nobody, whose SYNs "
            "the router swallows, then to its own"
        )
        return Effect(says, ROUTER, ("> syn",), alternative=True)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        own = lab.nodes[lab.setting.target.node].address
        with swallowed(lab, self.at, [lab.nowhere, own]) as rules:
            yield Touching(rules.hits)
