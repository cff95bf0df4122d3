"""Faults of the wire: the relay in the router does them, segment by segment (chaos/agent/wire.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.effect import Effect, spoken
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._crossing import Crossing, crossings
from chaos.faults._rules import Selection
from chaos.fields import NodeName, Nth, Port, Positive, Segments
from chaos.model import ROUTER, Lab, Setting
from chaos.ranges import CountRange

NO_WIRE = "needs the wire; `path: direct` leaves it out"


@dataclass(frozen=True, kw_only=True)
class OnTheWire:
    """Which segments: kinds, their number since the fault was armed, the port, the direction, and the packet's size."""

    segment: Segments
    nth: Nth | None = None
    port: Port | None = None
    from_: NodeName | None = None
    to: NodeName | None = None
    larger: Positive | None = None

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """There must be a wire."""
        if setting.path == "direct":
            yield "segment", f"{self.kind()} {NO_WIRE}"

    @classmethod
    def kind(cls) -> str:
        """The YAML key, which is the action's name too."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def chosen(self) -> Selection:
        """The segments."""
        return Selection(ROUTER, self.segment, self.port, self.from_, self.to, self.nth, self.larger)

    def effect(self, setting: Setting) -> Effect:
        """What it does, in words and as data; `_does` and `_data` are the fault's own."""
        chosen = self.chosen()
        meets = chosen.meets(setting)
        which = f"{told(self.nth, self.larger)}{spoken(meets)}"
        bounds = {"nth": bounds_of(self.nth), "larger": self.larger or 0, "behind": chosen.behind(setting)}
        return Effect(f"the wire {self._does(which)}", ROUTER, **{**bounds, **self._data(meets)})

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        rule = {"match": self.chosen().match(lab), "action": {"do": self.kind(), **self._action()}}
        with lab.on_wire(rule) as armed:
            yield Touching(armed.hits, lambda evidence: self._unproven(evidence, lab.setting))

    def _unproven(self, evidence: Evidence, setting: Setting) -> str | None:
        """None when one direction shows it; else the doubt of the first in which there was something to see."""
        found = [one for one in crossings(evidence, self.chosen(), setting) if one.left]
        doubts = [self._doubt(one, evidence) for one in found]
        return None if None in doubts else next(iter(doubts), "no such segment left either end")

    def _does(self, which: str) -> str:
        raise NotImplementedError

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        raise NotImplementedError

    def _action(self) -> Mapping[str, Any]:
        return {}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        raise NotImplementedError


def told(nth: CountRange | None, larger: int | None = None) -> str:
    """`number 1..2 of ` in front of the segments' names; nothing when it is all of them."""
    number = f"number {nth} of " if nth else ""
    return number + (f"(in packets of more than {larger} bytes) " if larger else "")


def bounds_of(nth: CountRange | None) -> tuple[int, int | None]:
    """First and last, as an Effect has them."""
    return (nth.low, nth.high) if nth else (1, None)
