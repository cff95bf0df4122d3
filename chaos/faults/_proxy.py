"""What the faults inside Toxiproxy share: they need one, and they reach only what comes after connect()."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from chaos.conversation import segment
from chaos.model import Lab, Proxy, Setting
from chaos.packets import Packet


def of_toxiproxy(at: str | None, setting: Setting) -> Iterable[tuple[str, str]]:
    """Problems of `at`: it must be a Toxiproxy, or without it what the client dials must be one."""
    node = at or setting.target.node
    service = setting.topology.services.get(node)
    if service is not None and service.proxy is None:
        yield "at", f"{node!r} is no Toxiproxy (`x-chaos: {{toxiproxy: {{listen, upstream}}}}` of its service)"


@dataclass(frozen=True)
class Since:
    """A proxy's segments from now on: a fault that is armed when the attempt has returned finds none."""

    lab: Lab
    proxy: Proxy
    armed_ns: int = field(default_factory=time.time_ns)

    def of(self, kind: str, *, sent: bool) -> list[Packet]:
        """Segments of one kind that the proxy's listening end has sent, or was sent."""
        return [
            packet
            for packet in self.lab.packets(self.proxy.node)
            if packet.time_ns >= self.armed_ns and segment(packet) == kind
            if ((packet.src, packet.sport) if sent else (packet.dst, packet.dport)) == self.proxy.listen
        ]

    def connections(self) -> int:
        """Connections that were made to the proxy and that it accepted."""
        asked = {(packet.src, packet.sport) for packet in self.of("syn", sent=False)}
        return len(asked & {(packet.dst, packet.dport) for packet in self.of("syn-ack", sent=True)})
