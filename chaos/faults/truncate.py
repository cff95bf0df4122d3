"""`truncate {segment, keep, nth?, ...}`: the end of segments is cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from chaos.evidence import Evidence
from chaos.faults._crossing import Crossing
from chaos.faults._wire import OnTheWire
from chaos.faults.corrupt import not_thrown_away


@dataclass(frozen=True, kw_only=True)
class Truncate(OnTheWire):
    """Segments keep so many bytes behind the IP header, whose length says so; the TCP checksum does not know of it.

    The lengths agree because a packet that is shorter than its IP header says would go no further than the next hop
    (InTruncatedPkts), and be a `drop`.
    Wire: the segment comes, and is shorter; the receiver's TCP throws it away, and the sender retransmits it.
    By hand: `sock.send(frame[:66])` on an AF_PACKET socket that stands in for the link; no command does it.
    Linux: as if it were lost (net/ipv4/tcp_ipv4.c, tcp_v4_rcv: TcpInErrs, and TcpInCsumErrors if the header is whole).
    Imitates: a middle-box or a driver that cuts frames, a tunnel with a buffer that is too short.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    keep: Annotated[int, Field(ge=20, le=65535)]

    def _does(self, which: str) -> str:
        return f"cuts {which} to {self.keep} bytes behind the IP header; the other end's TCP throws it away"

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        return {"meets": meets, "broken": True}

    def _action(self) -> Mapping[str, Any]:
        return {"keep": self.keep}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        return not_thrown_away(crossing, evidence, "TcpInErrs")
