"""A program of the user's on the user's own terminal: the client of `connect-chaos exec`, no adapter of scenarios."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.clients._attempt import INSTALLS, filled
from chaos.clients.command import Command
from chaos.errors import LabError, ToolMissing
from chaos.model import Lab, Outcome

FOREVER: Final = 1e6
"""Seconds: the program has no deadline but its user's patience."""


@dataclass(frozen=True)
class Passthrough(Command):
    """Any program, run once with our standard input, output and error; its exit status is all that it says."""

    def attempt(self, lab: Lab) -> Outcome:
        """Run it in the node. Raises ToolMissing when the program is not there."""
        job = {"argv": filled(self.command, lab.setting), "directory": str(Path.cwd())}
        result = lab.nodes[self.node].start("passthrough", job=job).next(FOREVER)
        if "missing" in result:
            tool = result["missing"]
            if result["errno"] == "ENOENT":
                raise ToolMissing(tool, INSTALLS.get(tool, f"apt-get install {shlex.quote(tool)}"))
            raise LabError(f"{tool}: cannot be started in node `{self.node}`: {result['errno']}")
        status = result["exit"] if result["signal"] is None else -result["signal"]
        return Outcome(None, None, result["started_ns"], result["returned_ns"], exit=status, error_from="text")
