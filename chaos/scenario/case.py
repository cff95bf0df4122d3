"""What a scenario file means: cases, each of which runs in a lab of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import Problem
from chaos.model import Client, Fault, Setting
from chaos.scenario.language import Expect
from chaos.scenario.parts import Probe
from chaos.source import shown


@dataclass(frozen=True)
class Case:
    """One runnable: a named variant of a scenario at one point of its matrix.

    name: the pytest id within the file: `default`, `requests`, `requests-ipv6`.
    line: where the variant (or the file's first key) stands; `lines` has the line of each key, by its path:
        `faults.0`, `client`, `expect.error`, `expect.wire.client.2`.
    faults: (kind, fault) in the order in which they nest.
    """

    file: Path
    name: str
    line: int
    setting: Setting
    faults: tuple[tuple[str, Fault], ...]
    client: Client
    adapter: str
    probe: Probe
    expect: Expect
    tags: tuple[str, ...]
    xfail: str | None
    exclusive: bool
    lines: Mapping[str, int]

    @property
    def node_id(self) -> str:
        """`scenarios/refused/closed-port.chaos.yaml::requests-ipv6`, relative to the current directory."""
        return f"{shown(self.file)}::{self.name}"


@dataclass(frozen=True)
class Scenario:
    """A file. `why` is its first comment, as one line; empty when it has none.

    warnings: the doubts of whoever loaded it (load.py).
    """

    file: Path
    why: str
    cases: tuple[Case, ...]
    warnings: tuple[Problem, ...] = ()
