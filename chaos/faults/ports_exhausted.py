"""`ports-exhausted {at, ports?}`: every ephemeral port to the target is in use: EADDRNOTAVAIL (ip(7))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._children import held
from chaos.faults._seen import way_to
from chaos.faults._sysctls import written
from chaos.fields import NodeName
from chaos.model import Lab, Setting

RANGE = "net/ipv4/ip_local_port_range"
FIRST = 61000
"""Just behind the default range, so that no earlier connection is in TIME_WAIT on one of the ports."""


@dataclass(frozen=True)
class PortsExhausted:
    """The client's ephemeral range is so many ports, and connections to the target hold every one of them.

    Wire: nothing.
    By hand: `sysctl -w net.ipv4.ip_local_port_range="61000 61001"`, and two connections to the same address and port
    Linux: connect() fails with EADDRNOTAVAIL at once; a port is free to other targets, a bound port needs no range.
    Imitates: a busy client without keep-alive (TIME_WAIT), a NAT gateway, a proxy in front of one upstream.
    """

    requires: ClassVar[tuple[str, ...]] = (f"sysctl:{RANGE}",)

    at: NodeName
    ports: Annotated[int, Field(ge=1, le=64)] = 2

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """It is who dials that needs a port."""
        if self.at != setting.client:
            yield "at", f"ephemeral ports are those of who dials, {setting.client!r}"

    def effect(self, setting: Setting) -> Effect:
        """An error of the client's own kernel."""
        says = f"{self.ports} connections hold all {self.ports} ephemeral ports of {self.at} to the target"
        return Effect(says, self.at, errno="EADDRNOTAVAIL")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, way = lab.nodes[self.at], way_to(lab, lab.setting.target.node)
        with (
            written(node, {RANGE: f"{FIRST} {FIRST + self.ports - 1}"}),
            held(node, way.address, way.port, self.ports) as count,
        ):

            def hits() -> int:
                return int(self.at == lab.setting.client)  # the attempt, which has returned

            def doubt(evidence: Evidence) -> str | None:
                if count < self.ports:
                    return f"only {count} of {self.ports} ports are held"
                seen = evidence.packets[evidence.client]
                return f"{len(seen)} packets left the client all the same" if seen else None

            yield Touching(hits, doubt)
