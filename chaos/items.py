"""pytest's nodes: a scenario file is a File, each of its cases an item with fixtures, markers and reports.

The case itself runs elsewhere (live.py); setting its item up is waiting for it. INVALID fails the set-up and is an
error (E) therefore, FAIL fails the call (F).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from chaos.errors import LabError, Mismatch, ScenarioError, ToolMissing
from chaos.scenario import Case, load
from chaos.source import shown
from chaos.summary import Row, expected, surfaced

if TYPE_CHECKING:
    from chaos.live import Ended, Live

PROPERTIES = ("error", "phase", "verdict", "artifacts")


class ScenarioFile(pytest.File):
    """A `.chaos.yaml` file."""

    def __init__(self, *, live: Live, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._live = live

    def collect(self) -> Iterator[CaseItem]:
        """Its cases. Raises ScenarioError."""
        for case in load(self.path).cases:
            yield CaseItem.from_parent(self, name=case.name, case=case, live=self._live, callobj=_case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str | TerminalRepr:  # type: ignore[override]
        """Every problem as `file:line:column: message`, and nothing else."""
        if isinstance(excinfo.value, ScenarioError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


def _case() -> None:
    """What pytest takes for the item's function; it has no parameters, so fixtures come by autouse and usefixtures."""


class CaseItem(pytest.Function):
    """One case. `name` is the case's."""

    nofuncargs = True
    """pytest's word for an item whose function it need not look at for the names of fixtures."""

    def __init__(self, *, case: Case, live: Live, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.case = case
        self._live = live
        self._ended: Ended | None = None
        self._waited = 0.0
        self._raised: Exception | None = None
        for name, what in _markers(case, self._live.backend.of(case.setting)):
            self.add_marker(self._live.marker(name, what))
        if reason := self._live.backend.refuses(case):
            self.add_marker(pytest.mark.skip(reason=reason))
        if case.xfail:
            self.add_marker(pytest.mark.xfail(reason=case.xfail, strict=True, raises=Mismatch))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the case stands in its file."""
        return self.path, self.case.line - 1, self.name

    # -- running

    def setup(self) -> None:
        """Set the fixtures up and wait for the result, which an INVALID does not have."""
        super().setup()
        if self.config.option.setuponly:
            return
        self._ended, self._raised = None, None
        started = time.monotonic()
        try:
            self._ended = self._result()
        finally:
            self._waited = time.monotonic() - started
        self._note(self._ended)
        verdict = self._ended.result.verdict
        if verdict.kind == "INVALID":
            raise self._mine(LabError("\n".join(verdict.reasons)))

    def _result(self) -> Ended:
        try:
            return self._live.ended(self)
        except ToolMissing as error:
            if not self._live.strict:
                pytest.skip(str(error))
            raise self._mine(error) from None
        except (LabError, ScenarioError) as error:
            raise self._mine(error) from None

    def runtest(self) -> None:
        """Hold the client to it."""
        if self._ended is not None and self._ended.result.verdict.kind == "FAIL":
            raise self._mine(Mismatch(self._ended.result.verdict.reasons))

    def _mine(self, error: Exception) -> Exception:
        """Remember an error as the case's own, which is told without a traceback."""
        self._raised = error
        return error

    def _note(self, ended: Ended) -> None:
        """What junitxml records of the case."""
        result, folder = ended.result, ended.folder
        outcome = result.evidence.outcome if result.evidence else None
        values = (
            outcome.error if outcome else None,
            outcome.phase if outcome else None,
            result.verdict.kind,
            shown(folder) if folder else None,
        )
        kept = [each for each in self.user_properties if each[0] not in PROPERTIES]
        said = [each for each in zip(PROPERTIES, values, strict=True) if each[1] is not None]
        self.user_properties[:] = [*kept, *said]

    # -- reporting

    def complete(self, report: pytest.TestReport, error: BaseException | None) -> None:
        """Give the report the case's own words and time, and the deciding one its row of the table."""
        if report.failed and error is not None and error is self._raised:
            report.longrepr = self._told(self._raised)
        if report.when == "setup":
            report.duration = max(0.0, report.duration - self._waited)
            if isinstance(report.longrepr, tuple):
                report.longrepr = (str(self.path), self.case.line, report.longrepr[2])
        if report.when == "call" or (report.when == "setup" and not report.passed):
            report.duration += self._ended.result.seconds if self._ended else 0.0
            report.chaos = asdict(self._row(report))  # type: ignore[attr-defined]

    def _row(self, report: pytest.TestReport) -> Row:
        result = self._ended.result if self._ended else None
        verdict = "SKIPPED" if result is None and report.skipped else result.verdict.kind if result else "ERROR"
        return Row(
            scenario=self.nodeid,
            client=self.case.adapter,
            expected=expected(self.case.expect),
            surfaced=surfaced(result.evidence.outcome) if result and result.evidence else "",
            verdict=f"{verdict} (xfail)" if hasattr(report, "wasxfail") else verdict,
            seconds=result.seconds if result else None,
        )

    def _told(self, error: Exception) -> Told:
        """Where, why, and the packets: no traceback, for nothing of ours is what went wrong."""
        file, line, reason = shown(self.path), self.case.line, str(error).partition("\n")[0]
        text = f"{file}:{line}: {error}"
        if self._ended is not None:
            from chaos.report import explain_failure  # what a collection does not need

            result, folder = self._ended.result, self._ended.folder
            text = explain_failure(
                result.verdict,
                file=file,
                line=line,
                lines=self.case.lines,
                evidence=result.evidence,
                faults=result.faults,
                artifacts=shown(folder) if folder else None,
            )
        return Told(text, ReprFileLocation(file, line, reason))


def _markers(case: Case, backend: str) -> Iterator[tuple[str, str]]:
    for kind, _ in case.faults:
        yield kind, "a fault of connect-chaos"
    yield case.adapter, "a client of connect-chaos"
    yield backend, "a backend of connect-chaos"
    for tag in case.tags:
        yield tag, "a tag of a scenario"


class Told(TerminalRepr):
    """A failure in words of our own. `reprcrash` gives the short summary its line."""

    def __init__(self, text: str, reprcrash: ReprFileLocation) -> None:
        self.text, self.reprcrash = text, reprcrash

    def __str__(self) -> str:
        return self.text

    def toterminal(self, tw: TerminalWriter) -> None:
        """The text as it is."""
        tw.line(self.text)
