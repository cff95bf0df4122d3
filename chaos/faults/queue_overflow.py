"""`queue-overflow {at, abort?, backlog?}`: the accept queue fills between a connection's SYN and its final ACK.

That is when net.ipv4.tcp_abort_on_overflow matters: a SYN that meets a full queue is dropped whatever it says
(net/ipv4/tcp_input.c, tcp_conn_request(); net/ipv4/tcp_minisocks.c, tcp_check_req()).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.counters import count
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._children import started
from chaos.faults._listener import OfOurListener
from chaos.faults._seen import way_to
from chaos.faults._sysctls import written
from chaos.fields import NodeName
from chaos.model import Lab, Setting

ABORT = "net/ipv4/tcp_abort_on_overflow"
LEAST_RTT = 0.05
"""Seconds for which the wire must hold the final ACK: the last place in the queue is taken meanwhile, in user space."""


@dataclass(frozen=True)
class QueueOverflow(OfOurListener):
    """The last place of the accept queue is taken while the final ACK is under way; with `abort` the answer is a RST.

    Wire: SYN, SYN-ACK, ACK, and then a RST; without `abort` the ACK is ignored, and the SYN-ACK comes again.
    By hand: `sysctl -w net.ipv4.tcp_abort_on_overflow=1`, and more connections at once than the backlog
    Linux: connect() succeeds, and what comes next fails with ECONNRESET; without `abort` recv() waits in vain.
    Imitates: a burst of connections to a server that is slow to accept.
    """

    requires: ClassVar[tuple[str, ...]] = (f"sysctl:{ABORT}",)

    at: NodeName
    abort: bool = True
    backlog: Annotated[int, Field(ge=1, le=64)] = 1

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The final ACK must take its time."""
        yield from super().check(setting, expect)
        if setting.path == "direct" or setting.rtt < LEAST_RTT:
            rtt = f"{LEAST_RTT * 1000:g}ms"
            yield (
                "at",
                f"the queue must fill before the final ACK comes: `link: {{rtt: {rtt}}}` or more, on a routed path",
            )

    def effect(self, setting: Setting) -> Effect:
        """The client believes in a connection that is refused, or forgotten."""
        says = f"the accept queue at {self.at} fills while the final ACK is under way: "
        if self.abort:
            return Effect(f"{says}its kernel answers it with a RST", self.at, peer="abort")
        says += "its kernel ignores it, and the connection stays in SYN_RECV"
        return Effect(says, self.at, peer="never-accept")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, port, way = lab.nodes[self.at], lab.setting.listen.port, way_to(lab, self.at)
        with (
            written(node, {ABORT: str(int(self.abort))}),
            lab.listening(do="never-accept", backlog=self.backlog, fill=self.backlog),
            started(node, "overflow", interface=node.interface, address=node.address, port=port),
        ):
            overflows = count(node, "TcpExtListenOverflows")

            def hits() -> int:
                answered = way.of_end(lab.packets(self.at), "syn-ack")
                met = count(node, "TcpExtListenOverflows") - overflows
                return met if answered else 0

            def doubt(evidence: Evidence) -> str | None:
                reset = bool(way.of_end(evidence.leg(self.at), "rst"))
                if reset == self.abort:
                    return None
                return f"the final ACK was {'' if reset else 'not '}answered with a RST"

            yield Touching(hits, doubt)
