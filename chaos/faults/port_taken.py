"""`port-taken {at}`: another program of the node has bound the port (bind(2))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.fields import NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class PortTaken:
    """Another program has the local port that the client binds.

    Wire: nothing; bind() fails before there is anything to send.
    By hand: `nc -l 5555 &`, in the client's namespace
    Linux: bind() fails with EADDRINUSE.
    Imitates: a service started twice; a client that insists on its source port.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    sockets: ClassVar[tuple[str, ...]] = ("stream", "datagram")

    at: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """There must be a port to take."""
        if setting.bound is None:
            yield "at", "port-taken takes the port that the client binds: say `client: {bind: {port: 5555}}`"

    def effect(self, setting: Setting) -> Effect:
        """A refusal by the client's own kernel."""
        says = f"another program at {self.at} has bound port {setting.bound}"
        return Effect(says, self.at, errno="EADDRINUSE" if self.at == setting.client else None)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node = lab.nodes[self.at]
        occupant = node.start("occupy", address=node.address, port=lab.setting.bound or 0, kind=lab.setting.type)
        try:
            occupant.next(5.0)

            def doubt(evidence: Evidence) -> str | None:
                seen = evidence.packets[evidence.client]
                return f"{len(seen)} packets left the client all the same" if seen else None

            yield Touching(lambda: int(self.at == lab.setting.client), doubt)
        finally:
            occupant.end()
