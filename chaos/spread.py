"""pytest-xdist's `--dist=load`, with every scenario handed out at once.

A worker runs side by side the cases that it knows of, so it must know of all of its own at the start; how long one of
them waits says nothing about how busy a worker is. Without a scenario among the items this is LoadScheduling as it is.
"""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadScheduling

SCENARIO: Final = ".chaos.yaml::"


class Spread(LoadScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """LoadScheduling whose first distribution also gives every worker an equal share of the scenarios that are left."""

    def schedule(self) -> None:
        """As LoadScheduling has it: called once when collection has ended, and again for each new worker."""
        first = self.collection is None
        super().schedule()
        if not (first and self.collection and self.pending):
            return
        ids = self.collection
        scenarios = [number for number in self.pending if SCENARIO in ids[number]]
        others = [number for number in self.pending if SCENARIO not in ids[number]]
        self.pending[:] = [*scenarios, *others]
        for place, node in enumerate(self.nodes):
            self._send_tests(node, len(scenarios[place :: len(self.nodes)]))
        if not self.pending:
            for node in self.nodes:
                node.shutdown()
