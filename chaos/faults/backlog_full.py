"""`backlog-full {at, backlog}`: the accept queue is full, so SYNs are dropped (net/ipv4/tcp_input.c)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from chaos.counters import count
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._seen import way_to
from chaos.faults._sysctls import written
from chaos.fields import Backlog, NodeName
from chaos.model import Lab, Setting

ABORT = "net/ipv4/tcp_abort_on_overflow"


@dataclass(frozen=True)
class BacklogFull(OfOurListener):
    """backlog + 1 connections, made inside the server's own node, fill the accept queue; the next SYN is dropped.

    `abort` sets tcp_abort_on_overflow, which changes nothing here: it is about a final ACK (queue-overflow).

    Wire: SYNs without an answer, although the port is open; the server counts ListenOverflows and ListenDrops.
    By hand: `python3 -c "import socket, time; s = socket.create_server(('', 8080), backlog=1); time.sleep(600)"`, and
        two connections to it from its own host
    Linux: connect() fails with ETIMEDOUT after the SYN schedule; tcp_abort_on_overflow changes nothing of it.
    Imitates: an overloaded server whose threads no longer come to accept(); a `somaxconn` that is too small.
    """

    requires: ClassVar[tuple[str, ...]] = (f"sysctl:{ABORT}",)

    at: NodeName
    backlog: Backlog = 1
    abort: bool = False

    def check(self, setting: Setting, expect: Any) -> Iterable[tuple[str, str]]:
        """A RST comes of a queue that fills between a connection's SYN and its ACK, and of no other."""
        yield from super().check(setting, expect)
        if expect.error in ("ECONNREFUSED", "ECONNRESET"):
            text = "a full accept queue drops the SYN, whatever tcp_abort_on_overflow says: there will be no RST. That "
            yield "at", f"{text}takes a queue that fills while the final ACK is held on its way"

    def effect(self, setting: Setting) -> Effect:
        """Silence to a SYN."""
        says = f"{self.backlog + 1} connections fill the accept queue at {self.at}; its kernel drops every further SYN"
        says += ", whatever tcp_abort_on_overflow says" if self.abort else ""
        return Effect(says, self.at, ("> syn",))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, port, way = lab.nodes[self.at], lab.setting.listen.port, way_to(lab, self.at)
        with (
            written(node, {ABORT: str(int(self.abort))}),
            lab.listening(do="never-accept", backlog=self.backlog, fill=self.backlog + 1),
        ):
            overflows = count(node, "TcpExtListenOverflows")
            queue = node.call("queue", port=port)

            def hits() -> int:
                if way.of_end(lab.packets(self.at), "syn-ack"):
                    return 0
                dropped = count(node, "TcpExtListenOverflows") - overflows
                return min(dropped, len(way.to_end(lab.packets(self.at), "syn")))

            def doubt(evidence: Evidence) -> str | None:
                if queue["accept"] > queue["backlog"]:
                    return None
                return f"the accept queue holds {queue['accept']} of {queue['backlog']}: it is not full"

            yield Touching(hits, doubt)
