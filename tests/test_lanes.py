"""Several workers: what may not meet is in one lane, what is told reaches the terminal, and nothing is run twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from chaos.check import Verdict
from chaos.findings import Kind
from chaos.run import Result
from chaos.scenario import Case, load
from tests import lanes, shipped
from tests.source import ROOT

ENGINES = ("docker_engine", "throwaway()", "leftovers.host()", "InContainers")
CROWD = ("shipped.results()", "shipped.quick()", "shipped.ended", " ended()", " results()")
OURS = "from tests.conftest import *\n"
TELLS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(number, tell, record_property, worker_id):
    record_property("worker", worker_id)
    tell(f"{number} was {'seen'}")
    assert number < 2
"""


def files() -> Mapping[str, str]:
    """The text of every file of tests, by the beginning of their names for pytest."""
    here = Path(lanes.__file__).parent
    return {f"tests/{file.name}": file.read_text() for file in here.glob("test_*.py") if file != Path(__file__)}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_starts_containers_or_looks_at_what_they_are_on_is_not_spread(
    elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "ELSEWHERE", elsewhere)
    having = [name for name, text in files().items() if any(word in text for word in ENGINES)]
    found = {name: lanes.lane(f"{name}::test") for name in having}
    own = {name: name for name in lanes.BY_THEMSELVES} if elsewhere else {}
    assert found == dict.fromkeys(having, lanes.CONTAINERS) | own
    assert lanes.lane(lanes.WITH_AN_ENGINE[-1]) == lanes.CONTAINERS


def test_what_asks_what_became_of_all_scenarios_is_one_lane() -> None:
    asking = [name for name, text in files().items() if any(word in text for word in CROWD)]
    found = {name: lanes.lane(f"{name}::test") for name in asking}
    elsewhere = {name for name, lane in found.items() if lane != lanes.CROWDS}
    assert elsewhere == {lanes.FLEETS, "tests/test_many.py", lanes.UNPRIVILEGED}, "which wait for what the others have"


def test_every_file_of_a_lane_exists() -> None:
    files_of_their_own = [name for name in lanes.FIRST if name.startswith("tests/")]
    of_lanes = (*lanes.WITH_AN_ENGINE, *lanes.OF_CROWDS, lanes.OF_DEAD_OWNERS)
    for name in (*of_lanes, *files_of_their_own):
        file, _, test = name.partition("::")
        assert f"def {test}" in (ROOT / file).read_text()


def test_the_longest_lanes_begin_first_and_scenarios_before_who_asks_for_them() -> None:
    mixed = [
        "tests/test_wire.py::x", "tests/test_unprivileged.py::x", "tests/test_many.py::x", "tests/test_docker.py::x",
        "tests/test_atlas.py::x", "scenarios/a.chaos.yaml::x",
    ]  # fmt: skip
    assert sorted(mixed, key=lanes.place) == mixed[::-1]
    assert [lanes.lane(name) == lanes.CROWDS for name in mixed] == [False] * 4 + [True] * 2


def test_owners_die_when_no_other_session_begins_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same lane; and those of others are among the first."""
    monkeypatch.setattr(lanes, "ELSEWHERE", False)
    others = ["tests/test_engine_script.py::x", "tests/test_docker.py::x", "tests/test_docker_play.py::x"]
    dying = f"{lanes.OF_DEAD_OWNERS}x"
    assert sorted([dying, *others], key=lanes.place)[-1] == dying
    assert lanes.lane(dying) == lanes.CONTAINERS
    assert {*lanes.BY_THEMSELVES} <= {*lanes.FIRST[: lanes.FIRST.index("tests/test_plan.py")]}


@pytest.mark.slow("starts pytest with two workers")
@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadfile")])
def test_what_a_test_tells_is_in_the_summary_once(
    workers: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it passes or fails; and the three of a file had one worker."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(OURS)
    for name in ("one", "other"):
        pytester.makepyfile(**{f"tests/test_{name}": TELLS})
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *workers, "--junitxml=junit.xml", "tests")
    result.assert_outcomes(passed=4, failed=2)
    for number in range(3):
        assert result.outlines.count(f"{number} was seen") == 2
    if workers:
        junit = (pytester.path / "junit.xml").read_text()
        assert sorted(junit.count(f'name="worker" value="gw{number}"') for number in range(2)) == [3, 3]


def test_the_first_runs_the_scenarios_and_the_others_read_what_became_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []

    def run(chosen: object) -> list[object]:
        ran.append(chosen)
        return ["what happened"]

    case = load(shipped.SCENARIOS / "refused" / "closed-port.chaos.yaml").cases[0]
    monkeypatch.setattr(shipped, "cases", lambda: (case,))
    monkeypatch.setattr(shipped, "side_by_side", run)
    workers = [shipped.Scenarios(tmp_path) for _ in range(3)]
    assert {str(worker.ended()) for worker in workers} == {"['what happened']"}
    assert ran == [[case]]
    for worker in workers:
        worker.close()


def test_a_scenario_that_fell_beside_others_is_run_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = load(shipped.SCENARIOS / "refused" / "closed-port.chaos.yaml").cases[:2]
    verdicts: dict[tuple[str, int], Kind] = {(one.name, 1): "PASS", (other.name, 1): "INVALID", (other.name, 2): "FAIL"}
    ran: list[str] = []

    def run(chosen: Sequence[Case]) -> list[Result]:
        ran.extend(case.name for case in chosen)
        return [ended(case, verdicts[case.name, ran.count(case.name)]) for case in chosen]

    monkeypatch.setattr(shipped, "cases", lambda: (one, other))
    monkeypatch.setattr(shipped, "side_by_side", run)
    found = shipped.Scenarios().ended()
    assert [end.verdict.kind for end in found if isinstance(end, Result)] == ["PASS", "FAIL"], (
        "and what it is then, it is"
    )
    assert ran == [one.name, other.name, other.name]


def ended(case: Case, kind: Kind) -> Result:
    return Result(case, Verdict(kind), 0.0, None)


ONE = """
from chaos.scenario import load
from tests import shipped

shipped.cases = lambda: load(shipped.SCENARIOS / "refused" / "firewall-reset.chaos.yaml").cases
shipped.side_by_side = None
"""
ASKS = """
import pytest
from tests import shipped

@pytest.mark.slow("waits for another worker")
def test_it():
    assert {end.verdict.kind for end in shipped.ended().values()} == {"PASS"}
"""


@pytest.mark.slow("starts pytest, which runs a scenario")
@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadfile")])
def test_a_scenario_that_pytest_has_run_is_not_run_again(
    workers: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(OURS + ONE)
    asks = pytester.makepyfile(**{"tests/test_atlas": ASKS})
    chosen = [str(shipped.SCENARIOS / "refused" / "firewall-reset.chaos.yaml"), str(asks)]
    argv = ["-p", "no:cacheprovider", "--chaos-artifacts=never", "--rootdir", str(pytester.path)]
    result = pytester.runpytest_subprocess(*argv, *workers, *chosen)
    assert result.ret == 0
