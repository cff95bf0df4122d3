"""`conntrack-full {at, entries?, port?}`: a connection tracker has no room left, so new connections are dropped.

The real table's size (net.netfilter.nf_conntrack_max) belongs to the whole machine and cannot be set in a network
namespace, so it is imitated: connections are counted by the same code of the kernel (nf_conncount), whoever makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.effect import Effect
from chaos.faults._armed import Touching
from chaos.faults._limits import counting
from chaos.faults._rules import FIREWALL, Selection
from chaos.fields import NodeName, Port
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class ConntrackFull:
    """A table of `entries` tracked connections is full: they go on, and the first packet of a new one is dropped.

    Wire: the SYN vanishes, and so does each retransmission.
    By hand: `iptables -A FORWARD -p tcp --syn -m conntrack --ctstate NEW
        -m connlimit --connlimit-above 1 --connlimit-mask 0 -j DROP`
    Linux: connect() fails with ETIMEDOUT after the SYN schedule.
    Imitates: "nf_conntrack: table full, dropping packet" of a router, a NAT gateway or a Kubernetes node.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:connlimit", "match:conntrack")

    at: NodeName
    entries: Annotated[int, Field(ge=1, le=64)] = 1
    port: Port | None = None

    def _chosen(self) -> Selection:
        return Selection(self.at, ("syn",), self.port)

    def effect(self, setting: Setting) -> Effect:
        """Silence."""
        meets, behind = self._chosen().meets(setting), self._chosen().behind(setting)
        says = f"{self.at} tracks {self.entries} connections and has room for no more: it drops the SYN of a new one"
        return Effect(says, self.at, meets, behind=behind)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        full = ["-m", "connlimit", "--connlimit-above", str(self.entries), "--connlimit-mask", "0"]
        new = ["-m", "conntrack", "--ctstate", "NEW"]
        with counting(lab, self._chosen(), self.entries, [*new, *full, "-j", "DROP"]) as touching:
            yield touching
