"""The shipped scenarios, each run once for all the tests that ask what really happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from chaos import toxiproxy
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.pool import Pool
from chaos.run import Idle, Result, run
from chaos.scenario import Case, load

ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "scenarios"


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


Ended = Result | ToolMissing


def side_by_side(chosen: Sequence[Case]) -> list[Ended]:
    """What becomes of these cases, all at once, so that their kernel waits do not add up."""

    def work(case: Case, idle: Idle) -> Ended:
        try:
            return run(case, backend, idle)
        except ToolMissing as missing:
            return missing

    with Netns() as backend:
        pool = Pool[Ended](work)
        found = [future.result() for future in pool.start(chosen)]
        pool.stop(lambda: None)
    return found


@cache
def ended() -> Mapping[tuple[str, str], Ended]:
    """What became of every case, by (scenario, case)."""
    keys = [(name(case.file), case.name) for case in cases()]
    return dict(zip(keys, side_by_side(cases()), strict=True))


@cache
def results() -> Mapping[tuple[str, str], Result]:
    """What happened in the kernel's own time, where this machine and this user have what the case needs."""
    ran = {key: found for key, found in ended().items() if isinstance(found, Result)}
    return {key: found for key, found in ran.items() if found.case.setting.timing != "compressed"}
