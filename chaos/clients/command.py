"""Client `command`: any program, as a person would type it, without a shell in between."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.clients._attempt import run_command
from chaos.fields import Argv, Duration, NodeName
from chaos.model import Lab, Outcome, Speaks


@dataclass(frozen=True)
class Command:
    """Any program: `{command: [curl, -sS, "http://{target}/"]}`; its words name the error, or else the packets.

    `timeout` tells of a time-out that the command itself has (`--max-time 10`), so that its deadline is later.
    """

    command: Argv
    node: NodeName = "client"
    timeout: Duration | None = None

    @property
    def speaks(self) -> Speaks:
        """What the listener must answer: HTTP where the command holds a URL of it."""
        return "http" if any("{url}" in word or "http://" in word for word in self.command) else "echo"

    def attempt(self, lab: Lab) -> Outcome:
        """Run it once in the node; raises ToolMissing when the program is not there."""
        return run_command(lab, self.node, self.command, self.timeout)
