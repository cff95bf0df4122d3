"""Every exception that connect-chaos raises; the type says who is to blame.

    ChaosError
     +- ScenarioError      your file: each problem has a file, a line, a column and a mend
     +- LabError           the environment: this machine could not do what a lab needs
         +- InVain         nodes answer, and what was waited for has not come
         +- CommandFailed  a program that we ran ended badly: argv, exit status, stderr
         +- ToolMissing    a program is not there; carries the line that installs it
    Mismatch               the client: it surfaced something else than the scenario expects

A client's own error is never an exception here: it is an `Outcome` (see model.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class ChaosError(Exception):
    """The root of what connect-chaos raises about scenarios and labs."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a file, or doubtful. `line` and `column` count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    message: str
    source: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {'warning: ' if self.severity == 'warning' else ''}{self.message}"
        if self.source:
            text += f"\n    {self.source}\n    {' ' * (self.column - 1)}^"
        return text


class ScenarioError(ChaosError):
    """A scenario or topology file that cannot be run, with every problem found in it, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


class LabError(ChaosError):
    """The environment could not do what a lab needs; the message names the thing and the mend."""


class InVain(LabError):
    """What was waited for has not come, while every node answered."""


class CommandFailed(LabError):
    """A program that we ran inside a lab or on this machine exited with a status that is not 0."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str) -> None:
        self.argv, self.status, self.stderr = tuple(argv), status, stderr.strip()
        ending = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        super().__init__(f"`{shlex.join(argv)}` {ending}: {self.stderr or '(nothing on stderr)'}")


class ToolMissing(LabError):
    """A program that a scenario needs is not installed, or for the reason `why` cannot be used here.

    `install` is a line that a person can type; with `why` it says what else would help.
    """

    def __init__(self, tool: str, install: str, why: str | None = None) -> None:
        self.tool, self.install = tool, install
        super().__init__(f"{tool}: {why}; {install}" if why else f"{tool}: not found; install it with: {install}")


class Mismatch(AssertionError):
    """The fault is proven and the client surfaced something else: every mismatch at once."""

    def __init__(self, mismatches: Sequence[str]) -> None:
        self.mismatches = tuple(mismatches)
        super().__init__("\n".join(mismatches))
