"""What a terminal shows of a session: the table at its end, and a line while it waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import pytest

from chaos.model import Outcome
from chaos.scenario import Case, Expect

HEADINGS: Final = ("scenario", "client", "expected", "surfaced", "verdict", "time")


@dataclass(frozen=True)
class Row:
    """A case in the table; `seconds` is None when it did not run."""

    scenario: str
    client: str
    expected: str
    surfaced: str
    verdict: str
    seconds: float | None


def expected(expect: Expect) -> str:
    """What is expected, in a few words."""
    if expect.error is not None:
        return expect.error
    surfaces = expect.surfaces
    return (surfaces.type or surfaces.code or "") if surfaces else ""


def surfaced(outcome: Outcome) -> str:
    """What the client surfaced, in a few words."""
    return outcome.error or outcome.type or ""


def table(rows: Iterable[Row]) -> list[str]:
    """The rows as lines, with aligned columns."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, each, widths)).rstrip() for each in cells]


def _cells(row: Row) -> tuple[str, ...]:
    time = "" if row.seconds is None else f"{row.seconds:.2f} s"
    return (row.scenario, row.client, row.expected or "-", row.surfaced or "-", row.verdict, time)


def waiting(left: int, whole: int, begun: Sequence[tuple[Case, float]]) -> str:
    """`waiting: 12 of 40 cases, longest timeout/dropped-syn 2.1 s`."""
    text = f"waiting: {left} of {whole} cases"
    if begun:
        case, seconds = begun[0]
        name = case.file.name.removesuffix(".chaos.yaml")
        text += f", longest {case.file.parent.name}/{name} {seconds:.1f} s"
    return text


class Progress:
    """A line at the terminal while an item waits; a context manager that takes the line away again."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        self.possible: bool = self._reporter is not None and self._reporter.isatty and self._reporter.verbosity >= 0
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def show(self, left: int, whole: int, begun: Sequence[tuple[Case, float]]) -> None:
        """Put the state of things where the last one stood."""
        self._write(waiting(left, whole, begun))

    def _write(self, text: str) -> None:
        if self._capture is None:
            return self._rewrite(text)
        with self._capture.global_and_fixture_disabled():
            return self._rewrite(text)

    def _rewrite(self, text: str) -> None:
        if not self._width:
            if not text:
                return
            self._reporter.ensure_newline()
        self._reporter.write("\r" + text.ljust(self._width) + ("" if text else "\r"), flush=True)
        self._width = max(self._width, len(text))
