"""`toxic {type, stream?, toxicity?, at?, ATTRIBUTES}`: a toxic of Toxiproxy 2.12: what goes wrong behind connect().

Toxiproxy takes a missing or misspelt attribute for 0, which for some toxics is a black hole, and a bad slicer ends the
server. So every attribute is typed here, all of a type's are sent, and what the server says it took is compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from chaos.effect import Effect, Peer
from chaos.errors import LabError
from chaos.evidence import Evidence
from chaos.faults import _proofs
from chaos.faults._armed import Touching
from chaos.faults._proxy import Since, of_toxiproxy
from chaos.faults._stream import stream
from chaos.fields import Duration, NodeName, Positive
from chaos.model import Lab, Proxy, Setting

COUNTED = 1.0
"""Seconds in which Toxiproxy counts the bytes of a connection that has ended."""
MOST = 2**31 - 1

Type = Literal["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"]
Bytes = Annotated[int, Field(ge=0, lt=2**31)]
Toxicity = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Attribute:
    """One attribute as Toxiproxy names it: `default` None means that it must be given; `unit` of a duration."""

    default: int | None = None
    least: int = 0
    unit: float | None = None


MS, US = 0.001, 0.000001
ATTRIBUTES: Mapping[str, Mapping[str, Attribute]] = {
    "latency": {"latency": Attribute(least=1, unit=MS), "jitter": Attribute(0, unit=MS)},
    "bandwidth": {"rate": Attribute(least=1)},
    "slow_close": {"delay": Attribute(least=1, unit=MS)},
    "timeout": {"timeout": Attribute(unit=MS)},
    "reset_peer": {"timeout": Attribute(0, unit=MS)},
    "slicer": {"average_size": Attribute(least=1), "size_variation": Attribute(0), "delay": Attribute(0, unit=US)},
    "limit_data": {"bytes": Attribute()},
}
"""What each type takes (toxics/*.go)."""


@dataclass(frozen=True)
class Toxic:
    """A toxic of Toxiproxy: latency, bandwidth, slow_close, timeout, reset_peer, slicer or limit_data.

    Wire: the handshake is as ever; what goes through the proxy is late, slow, cut, swallowed, or ended by FIN or RST.
    By hand: `curl -d '{"type": "latency", "attributes": {"latency": 100}}' http://127.0.0.1:8474/proxies/NAME/toxics`
    Linux: connect() succeeds; what comes later is late, ECONNRESET or the end of the stream, by type.
    Imitates: what Toxiproxy is made for: a slow or unreliable server behind a proxy.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    outermost: ClassVar[bool] = True

    type: Type
    stream: Literal["downstream", "upstream"] = "downstream"
    toxicity: Toxicity = 1.0
    at: NodeName | None = None
    latency: Duration | None = None
    jitter: Duration | None = None
    rate: Annotated[Positive | None, Field(description="in KB/s")] = None
    delay: Duration | None = None
    timeout: Annotated[Duration | None, Field(description="0ms: never")] = None
    average_size: Positive | None = None
    size_variation: Bytes | None = None
    bytes: Bytes | None = None

    def __post_init__(self) -> None:
        """Every attribute is one of the type's, and none that it needs is missing. Raises ValueError with the mend."""
        known = ATTRIBUTES[self.type]
        takes = ", ".join(known)
        every = {name for attributes in ATTRIBUTES.values() for name in attributes}
        for field in fields(self):
            if field.name in every - known.keys() and getattr(self, field.name) is not None:
                raise ValueError(f"{self.type} has no `{field.name}`; it takes: {takes}")
        for name, attribute in known.items():
            value = self._sent(name, attribute)
            if value is None:
                raise ValueError(f"{self.type} needs `{name}`; without it Toxiproxy takes 0")
            if not attribute.least <= value <= MOST:
                unit = {None: "", MS: " ms", US: " us"}[attribute.unit]
                raise ValueError(f"`{name}` of {self.type} is from {attribute.least}{unit} to {MOST}{unit}")
        if self.type == "latency" and self.attributes["jitter"] > self.attributes["latency"]:
            raise ValueError("`jitter` is more than `latency`: the delay would be negative")
        if self.type == "slicer" and self.attributes["size_variation"] >= self.attributes["average_size"]:
            raise ValueError("`size_variation` must be less than `average_size`, or a slice would have no bytes")

    @property
    def attributes(self) -> dict[str, int]:
        """As Toxiproxy's API takes them."""
        return {name: self._sent(name, attribute) or 0 for name, attribute in ATTRIBUTES[self.type].items()}

    def _sent(self, name: str, attribute: Attribute) -> int | None:
        value = getattr(self, name)
        if value is None:
            return attribute.default
        return int(value) if attribute.unit is None else round(value / attribute.unit)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """There must be a Toxiproxy."""
        yield from of_toxiproxy(self.at, setting)

    def effect(self, setting: Setting) -> Effect:
        """What a client of the proxy sees of it; what only delays ends nothing."""
        node = self.at or setting.target.node
        given = ", ".join(f"{name} {value}" for name, value in self.attributes.items())
        says = f"the proxy at {node} puts {self.type} on what goes {self.stream} ({given}); connect() is not touched"
        return Effect(says, node, peer=self._ends(), after="data")

    def _ends(self) -> Peer | None:
        if self.type == "timeout":
            return "close" if self.timeout else "silent"
        if self.type == "limit_data":
            return "close"
        return "abort" if self.type == "reset_peer" else None

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        proxy, name = lab.proxy(self.at or lab.setting.target.node), f"{self.type}_{self.stream}"
        before = proxy.passed()[self.stream]
        seen = Since(lab, proxy)
        touched: list[int] = []
        kept: list[int] = []

        def hits() -> int:
            touched.append(seen.connections())
            return touched[-1]

        try:
            proxy.add(self._sent_as(name))
            yield Touching(hits, lambda evidence: self._doubt(evidence, proxy, sum(kept)))
        finally:
            proxy.remove(name)
            if any(touched) and self.type in _proofs.SWALLOW:
                kept.append(_kept(lab, proxy, self.stream, before))

    def _sent_as(self, name: str) -> Mapping[str, Any]:
        said = {"type": self.type, "stream": self.stream, "toxicity": self.toxicity}
        return {"name": name, **said, "attributes": self.attributes}

    def _doubt(self, evidence: Evidence, proxy: Proxy, kept: int) -> str | None:
        """The wire at the proxy's own node first; then the proxy's counters must agree with it."""
        found = stream(evidence.attempt[proxy.node], proxy, self.stream)
        doubt = _proofs.OF[self.type](found, self.attributes)
        missing = found.bytes_in - found.bytes_out
        if doubt is None and self.type in _proofs.SWALLOW and missing and kept != missing:
            return f"{missing} bytes went in and did not come out, and Toxiproxy counts {kept}"
        return doubt


def _kept(lab: Lab, proxy: Proxy, way: str, before: tuple[int, int]) -> int:
    """Bytes that the proxy has received and not sent since `before`; counted when the connection has ended."""

    def counted() -> bool:
        now[:] = proxy.passed()[way]
        return bool(now[0] > before[0])

    now: list[Any] = [*before]
    with contextlib.suppress(LabError):  # it was not drawn for this connection: the wire tells
        lab.wait(counted, "Toxiproxy to count the bytes", COUNTED)
    return int(now[0] - before[0] - (now[1] - before[1]))
