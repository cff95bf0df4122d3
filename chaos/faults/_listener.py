"""What the faults of our own listener share: they replace it, so they need one that is ours."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.model import Setting


class OfOurListener:
    """A fault that makes our listener misbehave at the node `at`."""

    at: str

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The node must run our listener, and be the one that does."""
        kind = type(self).__module__.rpartition(".")[2].replace("_", "-")
        service = setting.topology.services.get(self.at)
        if service is not None and service.product:
            yield "at", f"{kind} needs our listener, and {self.at!r} runs a program of its own"
        elif service is not None and self.at != setting.listen.node:
            yield "at", f"{kind} acts on our listener, which is at {setting.listen.node!r}"
