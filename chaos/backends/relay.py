"""The wire of a lab, from the host: the relay in the router, its emptiness, and the rules that are in force on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.backends.channel import AgentNode, ChildOf

QUICK = 10.0
"""Seconds within which the relay must answer a question; a condition's deadline, not a wait."""


@dataclass(frozen=True)
class RelayRule:
    """A rule in force (model.WireRule)."""

    child: ChildOf
    number: int

    def hits(self) -> int:
        self.child.tell({"count": self.number})
        counted: int = self.child.expect("counted", QUICK)
        return counted


class Relay:
    """The operation `wire` in the router (chaos/agent/wire.py)."""

    def __init__(self, router: AgentNode, rtt: float) -> None:
        self._rtt = rtt
        self._numbers = itertools.count(1)
        self._child = router.start("wire", delay=rtt / 2, interface="wire1")

    def await_ready(self) -> None:
        """Return when it relays."""
        self._child.expect("ready", QUICK)

    def drain(self) -> None:
        """Return when what is on it now has arrived."""
        number = next(self._numbers)
        self._child.tell({"drain": number})
        while self._child.expect("drained", QUICK + self._rtt) != number:
            pass

    @contextmanager
    def armed(self, rule: Mapping[str, Any]) -> Iterator[RelayRule]:
        """A rule (chaos/agent/rules.py) in force; what it still holds is thrown away on leaving."""
        number = next(self._numbers)
        said = {"number": number, **rule}
        self._child.tell({"arm": said})
        self._child.expect("armed", QUICK)
        try:
            yield RelayRule(self._child, number)
        finally:
            self._child.tell({"withdraw": said})
            self._child.expect("withdrawn", QUICK)
