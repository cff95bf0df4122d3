"""`icmp {at, type, code?, segment?, mtu?, nth?, ...}`: a router or a host answers segments with an ICMP error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field, PlainValidator, WithJsonSchema

from chaos.effect import Effect, spoken
from chaos.faults._armed import Touching
from chaos.faults._messages import ERRORS, NUMBERS, REJECTS, TOO_BIG, Name, name_of, names_of
from chaos.faults._rules import FIREWALL, REJECT, Selection, armed, required
from chaos.faults._seen import no_icmp
from chaos.faults._wire import NO_WIRE, bounds_of, told
from chaos.fields import NodeName, Nth, Port, Segments
from chaos.model import ROUTER, Lab, Setting
from chaos.ranges import brief
from chaos.suggest import did_you_mean


def _type(value: Any) -> Name | int:
    if type(value) is int and 0 <= value <= 255:
        return value
    if value in NAMES:
        return value  # type: ignore[no-any-return]
    raise ValueError(f"expected a type from 0 to 255 or a name, got {brief(value)}{did_you_mean(value, NAMES)}")


NAMES = get_args(Name)
Byte = Annotated[int, Field(ge=0, le=255)]
Type = Annotated[
    Name | int,
    PlainValidator(_type),
    WithJsonSchema({"anyOf": [{"enum": [*NAMES]}, {"type": "integer", "minimum": 0, "maximum": 255}]}),
]
Mtu = Annotated[int, Field(ge=68, le=65535)]


@dataclass(frozen=True)
class Icmp:
    """A node answers segments with an ICMP error of any type and code, and lets them go no further.

    The router's is made on the wire, from the router's address; a host's by the host, from the address that was sent
    to. It quotes the packet as RFC 1812 and 4443 ask. With `mtu` only packets that are longer are answered. What a
    node itself sends is answered by its own firewall, which knows the codes of iptables' REJECT only.
    Wire: the segment is not seen beyond `at`; the ICMP error comes to its sender, half a round trip later.
    By hand: `iptables -A FORWARD -p tcp --dport 8080 --syn -j REJECT --reject-with icmp-host-unreachable`
    Linux: by type and code (net/ipv4/icmp.c, icmp_err_convert; net/ipv6/icmp.c, tab_unreach) while connect() waits;
        on an established connection nothing, but for the path MTU.
    Imitates: routers without a route, firewalls that say so, hosts without a listener, tunnels with a smaller MTU.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:bpf", REJECT)

    at: NodeName
    type: Type
    code: Byte | None = None
    segment: Segments = ("syn",)
    port: Port | None = None
    mtu: Mtu | None = None
    nth: Nth | None = None
    from_: NodeName | None = None
    to: NodeName | None = None

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: the wire needs none; REJECT answers what a host itself sends."""
        if self.at == ROUTER:
            return ()
        return (*required(self.segment), REJECT) if self._own(setting) else required(self.segment)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """Each family has its own messages; and some things only the wire can do."""
        message = self._message(setting)
        if message is None:
            yield (
                "type",
                f"over {setting.family} there is no {self.type}; there are {', '.join(names_of(setting.family))}",
            )
        elif message[0] not in ERRORS[setting.family]:
            yield "type", f"type {message[0]} is no error over {setting.family}, and quotes nothing"
        elif self._own(setting) and message not in REJECTS[setting.family]:
            known = ", ".join(f"{kind}/{code}" for kind, code in REJECTS[setting.family])
            yield "type", f"{self.at!r} sends this segment itself, and its firewall can answer with {known} only"
        if self.mtu is not None and message not in (None, TOO_BIG[setting.family]):
            yield "mtu", "only fragmentation-needed (3/4) and packet-too-big (IPv6, 2/0) tell an MTU"
        for key in ("nth", "mtu"):
            if getattr(self, key) is not None and self.at != ROUTER:
                yield key, f"only the wire can tell which segments: `at: {ROUTER}`"
        if self.at == ROUTER and setting.path == "direct":
            yield "at", f"icmp at the router {NO_WIRE}"

    def _message(self, setting: Setting) -> tuple[int, int] | None:
        if isinstance(self.type, str):
            return NUMBERS[setting.family].get(self.type)
        return self.type, self.code or 0

    def _numbers(self, setting: Setting) -> tuple[int, int]:
        message = self._message(setting)
        assert message is not None, "check() refuses it"
        return message

    def _chosen(self) -> Selection:
        return Selection(self.at, self.segment, self.port, self.from_, self.to, self.nth, self.mtu)

    def _own(self, setting: Setting) -> bool:
        return bool(self._chosen().sends(setting))

    def effect(self, setting: Setting) -> Effect:
        """An ICMP error to the sender."""
        chosen = self._chosen()
        meets, behind = chosen.meets(setting), chosen.behind(setting)
        kind, code = self._numbers(setting)
        which = f"{told(self.nth, self.mtu)}{spoken(meets)}"
        says = f"{self.at} answers {which} with ICMP {name_of(setting.family, (kind, code))} ({kind}/{code})"
        bounds = bounds_of(self.nth)
        answer = f"icmp:{kind}/{code}"
        return Effect(says, self.at, meets, answer, nth=bounds, larger=self.mtu or 0, mtu=self.mtu or 0, behind=behind)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        doubt = no_icmp(*self._numbers(lab.setting), self._chosen().goal_port(lab.setting))
        with ExitStack() as undo:
            hits = self._on_wire(lab, undo) if self.at == ROUTER else self._at_host(lab, undo)
            yield Touching(hits, doubt)

    def _said(self, setting: Setting) -> dict[str, object]:
        kind, code = self._numbers(setting)
        return {"type": kind, "code": code, "mtu": self.mtu or 0}

    def _on_wire(self, lab: Lab, undo: ExitStack) -> Callable[[], int]:
        """From the router's address towards the sender (RFC 1812, 4.3.2.4)."""
        sources = {node.address: lab.link_address(ROUTER, name) for name, node in lab.nodes.items() if name != ROUTER}
        action = {"do": "icmp", **self._said(lab.setting), "sources": sources}
        return undo.enter_context(lab.on_wire({"match": self._chosen().match(lab), "action": action})).hits

    def _at_host(self, lab: Lab, undo: ExitStack) -> Callable[[], int]:
        """What comes in is answered by a process of the node's, and kept from TCP; what goes out is rejected."""
        node, chosen, setting = lab.nodes[self.at], self._chosen(), lab.setting
        message = {**self._said(setting), "sources": {}}
        answering = node.start("answer", match=chosen.match(lab), message=message, interface=node.interface)
        undo.callback(answering.end)
        answering.next(READY)
        rules = chosen.rules(lab, ["-j", "DROP"], only="INPUT")
        option = REJECTS[setting.family].get(self._numbers(setting))
        if option is not None:
            rules += chosen.rules(lab, ["-j", "REJECT", "--reject-with", option], only="OUTPUT")
        return undo.enter_context(armed(node, setting.family, rules)).hits


READY = 10.0
"""Seconds within which a host must be ready to answer; a condition's deadline, not a wait."""
