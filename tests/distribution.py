"""pytest-xdist's distribution of whole groups of tests, by the lanes of lanes.py."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

from tests.lanes import lane


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """LoadScopeScheduling by lane, in the order in which the items come.

    A worker is given its next lane when the last test of this one is all that is left: before a worker runs a test it
    must know of the one that follows.
    """

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)

    def _reschedule(self, node: Any) -> None:
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)
