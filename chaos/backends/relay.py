"""The wire of a lab, from the host: the relay in the router, its emptiness, and the rules that are in force on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.backends.channel import AgentNode, Question

DRAIN: Question = ("wire", {"do": "drain"})
"""Done when what is on it now has arrived."""
LOST: Question = ("wire", {"do": "lost"})
"""How many frames were lost before they were on it, for want of memory."""


@dataclass(frozen=True)
class RelayRule:
    """A rule in force (model.WireRule)."""

    router: AgentNode
    number: int

    def hits(self) -> int:
        counted: int = self.router.call("wire", do="count", number=self.number)
        return counted


class Relay:
    """The operation `wire` in the router (chaos/agent/wire.py)."""

    def __init__(self, router: AgentNode) -> None:
        self._router = router
        self._numbers = itertools.count(1)

    def drain(self) -> None:
        """Return when what is on it now has arrived."""
        self._router.call("wire", do="drain")

    @contextmanager
    def armed(self, rule: Mapping[str, Any]) -> Iterator[RelayRule]:
        """A rule (chaos/agent/rules.py) in force; what it still holds is thrown away on leaving."""
        number = next(self._numbers)
        self._router.call("wire", do="arm", rule={"number": number, **rule})
        try:
            yield RelayRule(self._router, number)
        finally:
            self._router.call("wire", do="withdraw", number=number)
