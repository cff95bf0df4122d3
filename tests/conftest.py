"""What every test here is held to: quick, or marked `slow(reason)`; and what several workers (pytest-xdist) need.

Over 0.25 s without the marker is listed in the summary; over a second fails the test. On a machine that is
busy with more than its processors can do, both grow with what there is to do: a slow test is the defect,
a slow neighbour is not.
"""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import lanes, shipped
from tests.load import busy

if TYPE_CHECKING:
    from tests.distribution import Lanes

pytest_plugins = ["pytester"]

LISTED_S = 0.25
FAILED_S = 1.0
TOLD, UNMARKED = "told", "unmarked"
"""Properties of reports, which reach the summary from any worker: a text, and the seconds of what should be marked."""
SHARED = "shipped"
FOLDER = pytest.StashKey["tempfile.TemporaryDirectory[str]"]()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say something in the terminal's summary."""
    return partial(record_property, TOLD)


# -- several workers


def pytest_configure(config: pytest.Config) -> None:
    """The shipped scenarios are run once for all tests, and for all workers: they share a folder that ends with us.

    A shell's job in the background ignores SIGINT, and so would every program that a test is to interrupt.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = None
    if hasattr(config, "workerinput"):
        folder = Path(config.workerinput[SHARED])
    elif config.getoption("numprocesses", None):
        config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="connect-chaos-shipped-")
    shipped.scenarios = shipped.Scenarios(folder)
    config.pluginmanager.register(shipped.scenarios)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run has ended."""
    shipped.scenarios.close()
    if FOLDER in config.stash:
        config.stash[FOLDER].cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where."""
    node.workerinput[SHARED] = node.config.stash[FOLDER].name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: three more than there are processors, as most tests wait for most of their time."""
    return len(os.sched_getaffinity(0)) + 3


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes | None:
    """`--dist loadfile` is by lane here."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.distribution import Lanes

    return Lanes(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays until the end: nothing of it need be looked at for garbage, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and with the scenarios before whoever asks what became of them."""
    items.sort(key=lambda item: lanes.place(item.nodeid))


# -- quick, or marked


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
    unmarked = report.when == "call" and report.passed and not item.get_closest_marker("slow")
    if unmarked and call.duration > LISTED_S:
        if call.duration > FAILED_S * busy():
            report.outcome = "failed"
            report.longrepr = (
                f"passed, but took {call.duration:.2f} s: mark it @pytest.mark.slow('why') or make it quick"
            )
        elif call.duration > LISTED_S * busy():
            report.user_properties.append((UNMARKED, call.duration))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to tell, and what is slow and does not say why."""
    for report, name, value in properties(terminalreporter):
        if name == TOLD:
            terminalreporter.write_sep("-", report.nodeid)
            terminalreporter.write_line(value)
    for report, name, value in properties(terminalreporter):
        if name == UNMARKED:
            terminalreporter.line(f"over {LISTED_S} s and not marked slow: {report.nodeid} ({value:.2f} s)")


def properties(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[pytest.TestReport, str, Any]]:
    """What reports of tests carry, each once."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                for name, value in report.user_properties:
                    yield report, name, value
