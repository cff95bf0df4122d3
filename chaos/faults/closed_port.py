"""`closed-port {at}`: nobody listens, so the kernel answers a SYN with a RST (RFC 9293, 3.10.7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.faults._seen import no_reset, way_to
from chaos.fields import NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class ClosedPort(OfOurListener):
    """Our listener goes; the host stays, and refuses."""

    at: NodeName

    def effect(self, setting: Setting) -> Effect:
        """A RST from a kernel that has no listener."""
        says = f"nobody listens at {self.at}; its kernel answers the SYN with a RST"
        return Effect(says, self.at, ("> syn",), "rst")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with lab.listening(do="absent"):

            def hits() -> int:
                return len(way_to(lab, self.at).of_end(lab.packets(self.at), "rst"))

            def doubt(evidence: Evidence) -> str | None:
                if somebody is not None:
                    return f"somebody listens on port {lab.setting.listen.port} of {self.at!r}"
                return no_reset(self.at)(evidence)

            somebody = lab.nodes[self.at].call("queue", port=lab.setting.listen.port)
            yield Touching(hits, doubt)
