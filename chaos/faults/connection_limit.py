"""`connection-limit {at, above?, answer?, port?}`: a firewall lets so many connections of an address pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chaos.effect import Effect, spoken
from chaos.faults._armed import Touching
from chaos.faults._limits import counting
from chaos.faults._rules import FIREWALL, REJECT, Selection
from chaos.fields import NodeName, Port
from chaos.model import Lab, Setting

ANSWERS = {"reset": ("REJECT", "--reject-with", "tcp-reset"), "drop": ("DROP",)}
WHOLE = {"ipv4": "32", "ipv6": "128"}
"""The prefix of one address: connections are counted by their source."""


@dataclass(frozen=True)
class ConnectionLimit:
    """A firewall that counts: the client has `above` connections already, and its next SYN is reset or dropped.

    Wire: the SYN is answered with a RST, or not at all.
    By hand: `iptables -A INPUT -p tcp --syn --dport 8080 -m connlimit --connlimit-above 1
        -j REJECT --reject-with tcp-reset`
    Linux: connect() fails with ECONNREFUSED at once, or with ETIMEDOUT after the SYN schedule.
    Imitates: a load balancer's or a firewall's limit of connections for each client address.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:connlimit", REJECT)

    at: NodeName
    above: Annotated[int, Field(ge=1, le=64)] = 1
    answer: Literal["reset", "drop"] = "reset"
    port: Port | None = None

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: who drops rejects nothing."""
        return self.requires if self.answer == "reset" else tuple(it for it in self.requires if it != REJECT)

    def _chosen(self) -> Selection:
        return Selection(self.at, ("syn",), self.port)

    def effect(self, setting: Setting) -> Effect:
        """A RST, or silence."""
        meets, behind = self._chosen().meets(setting), self._chosen().behind(setting)
        does = "answers {} with a RST" if self.answer == "reset" else "drops {}"
        says = f"the client has {self.above} connections: above that, {self.at} {does.format(spoken(meets))}"
        return Effect(says, self.at, meets, "rst" if self.answer == "reset" else None, behind=behind)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        limit = ["-m", "connlimit", "--connlimit-above", str(self.above), "--connlimit-mask", WHOLE[lab.setting.family]]
        with counting(lab, self._chosen(), self.above, [*limit, "-j", *ANSWERS[self.answer]]) as touching:
            yield touching
