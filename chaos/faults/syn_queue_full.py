"""`syn-queue-full {at, cookies?, backlog?}`: half-open connections fill the SYN queue (RFC 4987)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.counters import count
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._routes import nowhere
from chaos.faults._seen import way_to
from chaos.faults._sysctls import written
from chaos.fields import NodeName
from chaos.model import Lab, Setting

COOKIES = "net/ipv4/tcp_syncookies"
COUNTERS = {False: "TcpExtTCPReqQFullDrop", True: "TcpExtTCPReqQFullDoCookies"}
BEYOND = 2
"""SYNs more than the queue takes: whether it is full with as many as the backlog, or one more, differs by kernel."""


@dataclass(frozen=True)
class SynQueueFull(OfOurListener):
    """SYNs from an address that never answers fill the listener's SYN queue; without cookies the next SYN is dropped.

    Wire: the SYN vanishes; with `cookies` the handshake is as always, and the SYN-ACK's number is a cookie.
    By hand: `sysctl -w net.ipv4.tcp_syncookies=0; hping3 --flood -S -a 198.19.255.254 -p 8080 server`
    Linux: connect() fails with ETIMEDOUT after the SYN schedule (TCPReqQFullDrop); with cookies it succeeds
        (TCPReqQFullDoCookies, SyncookiesSent, SyncookiesRecv).
    Imitates: a SYN flood, or a server whose SYN-ACKs get lost on their way.
    """

    requires: ClassVar[tuple[str, ...]] = ("program:ip", f"sysctl:{COOKIES}")

    at: NodeName
    cookies: bool = False
    backlog: Annotated[int, Field(ge=1, le=256)] = 8

    def effect(self, setting: Setting) -> Effect:
        """Silence to a SYN, or nothing that a client could notice."""
        says = f"half-open connections fill the SYN queue at {self.at}; its kernel "
        if self.cookies:
            return Effect(f"{says}answers further SYNs with a cookie for a number, and remembers nothing", self.at)
        return Effect(f"{says}drops every further SYN", self.at, ("> syn",))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, listen, way = lab.nodes[self.at], lab.setting.listen, way_to(lab, self.at)
        with (
            nowhere(node, lab.nowhere),  # its own firewall would not do: a SYN-ACK that cannot be sent ends its request
            written(node, {COOKIES: str(int(self.cookies))}),
            lab.listening(do="serve", backlog=self.backlog),
        ):
            flood = {"address": node.address, "port": listen.port, "source": lab.nowhere}
            half_open: int = node.call("half_open", count=self.backlog + BEYOND, **flood)
            before = count(node, COUNTERS[self.cookies])

            def hits() -> int:
                met = count(node, COUNTERS[self.cookies]) - before
                return min(met, len(way.to_end(lab.packets(self.at), "syn")))

            def doubt(evidence: Evidence) -> str | None:
                if half_open < self.backlog:
                    return f"{half_open} connections are half open, and the SYN queue takes {self.backlog}"
                return None

            yield Touching(hits, doubt)
