"""Client `requests`: one GET by the library of this name, in a process of its own in the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.clients._attempt import call_function
from chaos.fields import Duration, NodeName
from chaos.model import Lab, Outcome, Speaks

CODE = """
import requests

def call(target):
    return requests.get(target.url, timeout=target.timeout).status_code
"""

LOADED = ("requests", "netrc")
"""With what it imports when it is first used."""


@dataclass(frozen=True)
class Requests:
    """A GET by requests; `code` is the status of the answer. Without `timeout` it has none, and the kernel decides."""

    speaks: ClassVar[Speaks] = "http"

    node: NodeName = "client"
    timeout: Duration | None = None

    def attempt(self, lab: Lab) -> Outcome:
        """Ask once; raises ToolMissing when the library is not there."""
        return call_function(lab, self.node, self.timeout, code=CODE, libraries=LOADED)
