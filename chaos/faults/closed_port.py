"""`closed-port {at}`: nobody listens, so the kernel answers a SYN with a RST (RFC 9293, 3.10.7.1).

A product goes on listening: what is sent to its port is redirected to one on which nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._rules import FIREWALL, armed, default_port
from chaos.faults._seen import no_icmp, no_reset, way_to
from chaos.fields import NodeName
from chaos.model import Lab, Setting

NOBODYS = 1
"""tcpmux (RFC 1078), on which no product listens."""
REFUSALS: Mapping[tuple[str, str], tuple[int, int]] = {
    ("ipv4", "datagram"): (3, 3),
    ("ipv6", "datagram"): (1, 4),
    ("ipv4", "raw"): (3, 2),
    ("ipv6", "raw"): (4, 1),
}
"""The ICMP type and code for a port, or a protocol, that nobody has (RFC 792, 4443)."""


@dataclass(frozen=True)
class ClosedPort(OfOurListener):
    """Our listener goes, a product's port is led astray; the host stays, and refuses.

    Wire: the SYN is answered at once with RST, ACK by the server's own kernel (RFC 9293, 3.10.7.1);
        a datagram by ICMP.
    By hand: stop the server, or `iptables -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 1`
    Linux: connect() fails with ECONNREFUSED after one round trip; of a datagram socket, the next call does.
    Imitates: a service that has crashed or does not run yet; a wrong port; a listener bound to another address.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "target:REDIRECT")

    sockets: ClassVar[tuple[str, ...]] = ("stream", "datagram", "raw")

    at: NodeName

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: nothing where the listener is ours and can go."""
        service = setting.topology.services.get(self.at)
        return self.requires if service is not None and service.product else ()

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """A product will do as well."""
        service = setting.topology.services.get(self.at)
        return () if service is not None and service.product else super().check(setting, expect)

    def effect(self, setting: Setting) -> Effect:
        """A RST from a kernel that has no listener."""
        if setting.type != "stream":
            kind, code = REFUSALS[setting.family, setting.type]
            says = f"nobody receives at {self.at}; its kernel answers a datagram with ICMP {kind}/{code}"
            return Effect(says, self.at, ("> data",), f"icmp:{kind}/{code}")
        says = f"nobody listens at {self.at}; its kernel answers the SYN with a RST"
        return Effect(says, self.at, ("> syn",), "rst")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        port = lab.setting.listen.port if lab.ours(self.at) else NOBODYS
        with self._closed(lab):
            if lab.setting.type != "stream":
                yield self._unreachable(lab)
                return

            def hits() -> int:
                return len(way_to(lab, self.at).of_end(lab.packets(self.at), "rst"))

            def doubt(evidence: Evidence) -> str | None:
                if somebody is not None:
                    return f"somebody listens on port {port} of {self.at!r}"
                return no_reset(self.at)(evidence)

            somebody = lab.nodes[self.at].call("queue", port=port)
            yield Touching(hits, doubt)

    def _unreachable(self, lab: Lab) -> Touching:
        """For datagrams: the ICMP errors of the target's own kernel."""
        icmp = REFUSALS[lab.setting.family, lab.setting.type]
        port = lab.setting.target.port if lab.setting.type == "datagram" else 0  # of `raw` there is none

        def hits() -> int:
            return sum(packet.src == lab.target_address and packet.icmp == icmp for packet in lab.packets(self.at))

        return Touching(hits, no_icmp(*icmp, port))

    def _closed(self, lab: Lab) -> AbstractContextManager[object]:
        if lab.ours(self.at):
            return lab.listening(do="absent")
        port = default_port(lab.setting, self.at)
        rule = ("PREROUTING", "-p", "tcp", "--dport", str(port), "-j", "REDIRECT", "--to-ports", str(NOBODYS))
        return armed(lab.nodes[self.at], lab.setting.family, [rule], table="nat")
