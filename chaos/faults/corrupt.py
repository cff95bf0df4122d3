"""`corrupt {segment, what?, seed?, nth?, ...}`: segments are damaged on the way, and their checksum tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from chaos.evidence import Evidence
from chaos.faults._crossing import Crossing
from chaos.faults._wire import OnTheWire
from chaos.fields import Seed


@dataclass(frozen=True, kw_only=True)
class Corrupt(OnTheWire):
    """Segments are damaged: a bit of payload or options is flipped, or the checksum is wrong; `seed` chooses which.

    Wire: the segment comes, other than it left; the receiver's TCP throws it away, and the sender retransmits it.
    By hand: `tc qdisc add dev wire0 root netem corrupt 100%` (a bit of every packet, and netem must be in the kernel).
    Linux: as if it were lost (net/ipv4/tcp_ipv4.c, tcp_v4_rcv: TcpInCsumErrors).
    Imitates: bad cables and memory, a middle-box that rewrites segments and forgets the checksum.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    what: Literal["bit", "checksum"] = "bit"
    seed: Seed = 1

    def _does(self, which: str) -> str:
        how = "a bit flipped" if self.what == "bit" else "a wrong checksum"
        return f"passes on {which} with {how}; the other end's TCP throws it away"

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        return {"meets": meets, "broken": True}

    def _action(self) -> Mapping[str, Any]:
        return {"what": self.what, "seed": self.seed}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        return not_thrown_away(crossing, evidence, "TcpInCsumErrors")


def not_thrown_away(crossing: Crossing, evidence: Evidence, counter: str) -> str | None:
    """Doubt when the receiver's kernel has counted no segment that it threw away."""
    counted = evidence.kernel.get(crossing.receiver, {}).get(counter, 0)
    return None if counted > 0 else f"{counter} of {crossing.receiver} did not rise"
