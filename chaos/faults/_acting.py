"""Faults in which our listener does something to a connection that it has accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.model import Lab


@contextmanager
def listener_that(
    lab: Lab, do: str, doubt: Callable[[Evidence], str | None], after: str | int = "accept"
) -> Iterator[Touching]:
    """Our listener replaced by one that acts on connections; the hits are those that it acted on."""
    with lab.listening(do=do, after=after) as listener:
        assert listener is not None
        yield Touching(lambda: int(listener.report()["acted"]), doubt)


def due(after: str | int) -> str:
    """When it acts, in words."""
    return {"accept": "accepted a connection", "data": "read data"}.get(str(after), f"read {after} bytes")
