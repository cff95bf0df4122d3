"""The shipped scenarios, each run once for all the tests that ask what really happened."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from chaos import toxiproxy
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.run import Result, run
from chaos.scenario import Case, load

ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "scenarios"
AT_ONCE = 24


def files() -> list[Path]:
    """Every shipped scenario file."""
    return sorted(SCENARIOS.rglob("*.chaos.yaml"))


def name(file: Path) -> str:
    """`handshake/three-way`."""
    return str(file.relative_to(SCENARIOS)).removesuffix(".chaos.yaml")


@cache
def cases() -> tuple[Case, ...]:
    """Every case of every shipped scenario."""
    return tuple(case for file in files() for case in load(file).cases)


def can_run(case: Case) -> bool:
    """Whether this machine has what the case needs: Toxiproxy may be missing where there is no Go."""
    if not case.setting.proxied:
        return True
    try:
        return bool(toxiproxy.server())
    except ToolMissing:
        return False


@cache
def results() -> Mapping[tuple[str, str], Result]:
    """What happened, by (scenario, case); all run side by side, so that their kernel waits do not add up."""
    chosen = [case for case in cases() if case.setting.timing in ("short", "doubling") and can_run(case)]
    with Netns() as backend, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda case: run(case, backend), chosen))
    return {(name(result.case.file), result.case.name): result for result in found}
