"""What every test here is held to: quick, or marked `slow(reason)`.

Over 0.25 s without the marker is listed in the summary; over a second fails the test. On a machine that is
busy with more than its processors can do, the second grows with the load average: a slow test is the defect,
a slow neighbour is not.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

pytest_plugins = ["pytester"]

LISTED_S = 0.25
FAILED_S = 1.0


def limit_s() -> float:
    """Seconds that an unmarked test may take right now."""
    return FAILED_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A `slow` marker must say why."""
    for marker in item.iter_markers("slow"):
        if not (marker.args and isinstance(marker.args[0], str)):
            pytest.fail("slow needs its reason: @pytest.mark.slow('why it must take over 0.25 s')", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what passed too slowly and does not say why."""
    report = yield
    if report.when == "call" and report.passed and not item.get_closest_marker("slow") and call.duration > limit_s():
        report.outcome = "failed"
        report.longrepr = f"passed, but took {call.duration:.2f} s: mark it @pytest.mark.slow('why') or make it quick"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what is slow and does not say why."""
    for report in terminalreporter.stats.get("passed", []):
        ours = report.nodeid.startswith("tests/") and "slow" not in report.keywords
        if ours and report.when == "call" and report.duration > LISTED_S:
            terminalreporter.line(f"over {LISTED_S} s and not marked slow: {report.nodeid} ({report.duration:.2f} s)")
