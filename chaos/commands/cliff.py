"""cliff: find the delay at which a verdict flips, by bisection.

    connect-chaos cliff scenarios/wire/late-syn-ack.chaos.yaml::too-late-ipv4

The case must have one `delay` fault. Its own delay is tried first, and none at all; where both end alike, longer ones.
Then the span between two different verdicts is divided until the cliff is known to the precision asked for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from chaos.commands import BROKEN, PASSED, _files

if TYPE_CHECKING:
    from chaos.cliff import Cliff, Side
    from chaos.run import Result
    from chaos.scenario import Case

PRECISION = "5ms"


def options(parser: argparse.ArgumentParser) -> None:
    """Add FILES, --precision and --json."""
    _files.options(parser, several=False)
    parser.add_argument("--precision", default=PRECISION, help=f"how exactly it is to be found; {PRECISION}")
    parser.add_argument("--json", action="store_true", help="one object a line for each case")


def run(options: argparse.Namespace) -> int:
    """Print the cliff of each case; 3 where one has none."""
    from chaos.backends.netns import Netns
    from chaos.cliff import as_json

    status, precision, cases = PASSED, _precision(options.precision), _with_delay(options.files)
    with Netns() as backend:
        for case in cases:
            found = _cliff(case, backend, precision)
            if found is None:
                print(f"{case.node_id}: no cliff: no other delay that was tried ends otherwise")
                status = BROKEN
            else:
                print(json.dumps(as_json(case, found)) if options.json else told(case, found))
    return status


def _precision(text: str) -> float:
    from chaos.errors import Problem, ScenarioError
    from chaos.ranges import parse_duration

    try:
        precision = parse_duration(text)
    except ValueError as error:
        raise ScenarioError([Problem("--precision", 0, 0, str(error))]) from None
    if precision <= 0:
        raise ScenarioError([Problem("--precision", 0, 0, "expected more than nothing")])
    return precision


def _with_delay(files: Sequence[str]) -> list[Case]:
    """The selected cases that have one delay; ScenarioError when none has."""
    from chaos.cliff import delay_of
    from chaos.errors import Problem, ScenarioError

    found = [case for case in _files.cases(files) if delay_of(case) is not None]
    if not found:
        raise ScenarioError([Problem(files[0], 0, 0, "no case has exactly one `delay` fault, whose `by` could vary")])
    return found


def _cliff(case: Case, backend: object, precision: float) -> Cliff | None:
    from chaos.cliff import AT_ONCE, cliff, delay_of, delayed
    from chaos.run import run as run_case

    start = delay_of(case)
    assert start is not None
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def attempt(delays: Sequence[float]) -> list[Result]:
            return list(pool.map(lambda by: run_case(delayed(case, by), backend), delays))  # type: ignore[arg-type]

        return cliff(start, precision, attempt)


def told(case: Case, found: Cliff) -> str:
    """`ID: FAIL (ok) up to 2000.0 ms, PASS (timeout) from 2004.0 ms: the cliff is at 2002.0 ms, to within ...`."""
    low, high = found.below, found.above
    span = f"{_side(low)} up to {_ms(low.delay)}, {_side(high)} from {_ms(high.delay)}"
    where = f"the cliff is at {_ms(found.at)}, to within {_ms(found.precision)}"
    return f"{case.node_id}: {span}: {where} ({found.tries} tries)"


def _side(side: Side) -> str:
    return f"{side.verdict} ({side.error})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
