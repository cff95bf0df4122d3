"""`wrong-address {at}`: the target's name leads to an address that swallows everything."""

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
class WrongAddress:
    """At this node the target's name leads to an address that is routed, and whose packets the router swallows.

    Wire: SYNs to another address than the target's, and no answer.
    By hand: `echo 198.19.255.254 server >> /etc/hosts`, and `iptables -t raw -A PREROUTING -d 198.19.255.254 -j DROP`
        at the router
    Linux: connect() fails with ETIMEDOUT after the SYN schedule.
    Imitates: a stale DNS record; a wrong entry in /etc/hosts; an address of an instance that was terminated.
    """

    requires: ClassVar[tuple[str, ...]] = FIREWALL

    at: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The name must be wrong where it is used, and there must be a router to swallow."""
        return looked_up(self.at, setting, "wrong-address")

    def effect(self, setting: Setting) -> Effect:
        """Silence from an address that is nobody's."""
        says = (
            f"at {self.at} the target's name leads to an address that belongs to nobody; the router swallows its SYNs"
        )
        return Effect(says, ROUTER, ("> syn",))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with swallowed(lab, self.at, [lab.nowhere]) as rules:
            yield Touching(rules.hits)
