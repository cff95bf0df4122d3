"""`close {at, after}`: the peer closes in an orderly way, with a FIN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.faults._acting import listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import not_ours
from chaos.faults._seen import no_fin
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Close:
    """Our listener closes the connection (FIN) once it has accepted it, or read data, or so many bytes."""

    at: NodeName
    after: After = "accept"

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """It acts on our listener."""
        return not_ours(setting, self.at, "close")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "close", no_fin, self.after) as touching:
            yield touching
