"""Client `python`: a function of the user's, in a process of its own in the node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from chaos.clients._attempt import call_function
from chaos.fields import Duration, Function, NodeName
from chaos.model import Lab, Outcome, Speaks

LOADED = ("asyncio",)
"""Of Python's own; what else a function imports is the user's, and is met in the node."""


@dataclass(frozen=True)
class Python:
    """A function `package.module:function`, called once with a target; what it raises is what it surfaced.

    The target has `host`, `port`, `url`, `timeout` (seconds or None), and is `host:port` as text. An `async def` is run
    to its end. Returning None or False says nothing: that is `no-verdict`. The module is imported from the scenario's
    folder, the current directory, or wherever this interpreter finds it.
    """

    speaks: ClassVar[Speaks] = "echo"

    python: Function
    node: NodeName = "client"
    timeout: Duration | None = None

    def attempt(self, lab: Lab) -> Outcome:
        """Call it once in the node; raises LabError when it cannot be imported."""
        path = [str(Path(lab.setting.folder).resolve()), str(Path.cwd())]
        return call_function(lab, self.node, self.timeout, function=self.python, libraries=LOADED, path=path)
