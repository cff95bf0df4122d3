"""The pytest plugin: `.chaos.yaml` files are collected, and `chaos_lab` breaks the network under an ordinary test.

It is loaded into every project that has connect-chaos installed, so it imports nothing of ours (and nothing heavy)
until the first scenario is collected or the fixture is asked for: chaos/live.py does the work from there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScheduling

    from chaos.fixture import Labs
    from chaos.items import ScenarioFile

ENDING: Final = ".chaos.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, each with the prefix that `connect-chaos run` leaves out."""
    group = parser.getgroup("connect-chaos", "network faults (connect-chaos)")
    group.addoption(
        "--chaos-backend", default="auto", metavar="NAME", help="what labs are made of: netns, docker, or auto"
    )
    group.addoption(
        "--chaos-artifacts",
        default="retain-on-failure",
        choices=("retain-on-failure", "always", "never"),
        help="for which cases verdict.json, packets.pcapng and more are left in chaos-artifacts/",
    )
    group.addoption(
        "--chaos-strict",
        action="store_true",
        default=os.environ.get("CI", "").lower() in ("true", "1"),
        help="a missing tool is an error and not a skip; CI=true implies it",
    )
    group.addoption(
        "--chaos-jobs",
        type=_jobs,
        default=None,
        metavar="auto|N",
        help="how many cases may be at work at once, apart from waiting; auto is three for each processor",
    )


def _jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected auto or a number from 1, got {text!r}")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a backend that does not exist."""
    name: str = config.getoption("chaos_backend")
    if name in ("auto", "netns"):
        return  # without a look at chaos/backends/
    from chaos import shared
    from chaos.errors import ScenarioError

    try:
        shared.find(name)
    except ScenarioError as error:
        raise pytest.UsageError(f"--chaos-{error}") from None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Scenarios; every other file is somebody else's."""
    if not file_path.name.endswith(ENDING):
        return None
    from chaos import items, live

    found: ScenarioFile = items.ScenarioFile.from_parent(parent, path=file_path, live=live.of(parent.config))
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScheduling | None:
    """Under pytest-xdist's default distribution, let a worker know of all of its scenarios at the start."""
    if config.getvalue("dist") != "load":
        return None
    from chaos.spread import Spread

    return Spread(config, log)


@pytest.fixture
def chaos_lab(pytestconfig: pytest.Config) -> Labs:
    """A lab with faults around a block: `with chaos_lab("client-server", drop={"segment": "syn"}) as lab: ...`."""
    from chaos import fixture, live

    session = live.of(pytestconfig)
    return fixture.Labs(session.backend, session.strict)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One table of all cases; their reports may have come from other processes (pytest-xdist)."""
    reports = [report for group in terminalreporter.stats.values() for report in group if hasattr(report, "chaos")]
    if reports and terminalreporter.verbosity >= 0:
        from chaos import summary

        reports.sort(key=lambda report: (report.nodeid.partition("::")[0], report.start))
        rows = [summary.Row(**report.chaos) for report in reports]
        terminalreporter.write_sep("=", "connect-chaos")
        for line in summary.table(rows):
            terminalreporter.write_line(line)
