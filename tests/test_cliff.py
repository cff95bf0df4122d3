"""The cliff: bisection with what would have happened, and once with what happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from chaos import cliff, commands
from chaos.check import Verdict, invalid
from chaos.cli import main
from chaos.cliff import Cliff, delay_of, delayed
from chaos.errors import LabError
from chaos.evidence import Evidence
from chaos.model import Outcome
from chaos.run import Result
from chaos.scenario import load
from tests.source import ROOT

FILE = ROOT / "scenarios" / "wire" / "late-syn-ack.chaos.yaml"
CASE = load(FILE).cases[-1]


def ending(passes: Callable[[float], bool], tried: list[float]) -> cliff.Try:
    """Runs that pass or fail by their delay alone."""

    def attempt(delays: Sequence[float]) -> list[Result]:
        tried.extend(delays)
        return [result("PASS" if passes(by) else "FAIL") for by in delays]

    return attempt


def result(kind: str) -> Result:
    outcome = Outcome("ok" if kind == "PASS" else "timeout", None, 0, 1)
    return Result(CASE, Verdict(kind), 0.0, Evidence(outcome, "client", {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("edge", [0.0005, 0.1234, 0.7, 1.4999])
@pytest.mark.parametrize("falls", [True, False])
def test_it_is_found_to_the_precision_asked_for(edge: float, falls: bool) -> None:
    tried: list[float] = []
    found = cliff.cliff(1.5, 0.002, ending(lambda by: (by < edge) == falls, tried))
    assert found is not None
    assert found.below.delay < edge <= found.above.delay
    assert abs(found.at - edge) <= found.precision <= 0.002
    assert (found.below.verdict, found.above.verdict) == (("PASS", "FAIL") if falls else ("FAIL", "PASS"))
    assert found.tries == len(tried) <= 2 + 4 * 5


def test_beyond_the_file_s_own_delay_it_is_looked_for_too() -> None:
    found = cliff.cliff(0.1, 0.01, ending(lambda by: by < 2.0, []))
    assert found is not None
    assert abs(found.at - 2.0) <= 0.01


def test_there_may_be_none() -> None:
    tried: list[float] = []
    assert cliff.cliff(0.1, 0.01, ending(lambda by: True, tried)) is None
    assert max(tried) == pytest.approx(6.4)


def test_a_run_that_cannot_be_believed_ends_the_search() -> None:
    with pytest.raises(LabError, match="with a delay of 0 ms: no lab"):
        cliff.cliff(1.0, 0.01, lambda delays: [Result(CASE, invalid("no lab"), 0.0) for _ in delays])


def test_only_the_delay_is_another() -> None:
    assert delay_of(CASE) == 2.5
    other = delayed(CASE, 0.25)
    assert delay_of(other) == 0.25
    assert delayed(other, 2.5) == CASE


def test_what_is_told_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    from chaos.commands.cliff import told

    found = Cliff(cliff.Side(0.99, "FAIL", "ok"), cliff.Side(1.0, "PASS", "timeout"), 18)
    text = told(CASE, found)
    assert ": FAIL (ok) up to 990.0 ms, PASS (timeout) from 1000.0 ms: " in text
    assert text.endswith("the cliff is at 995.0 ms, to within 5.0 ms (18 tries)")
    assert json.dumps(cliff.as_json(CASE, found))


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([str(FILE), "--precision", "5"], "expected a duration such as '500ms'"),
        ([str(FILE), "--precision", "0ms"], "expected more than nothing"),
        ([str(FILE.parent / "twice.chaos.yaml")], "no case has exactly one `delay` fault"),
    ],
)
def test_bad_input(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cliff", *argv]) == commands.BAD_INPUT
    assert complaint in capsys.readouterr().err


@pytest.mark.slow("some dozen real attempts, each as long as its delay")
def test_a_client_s_time_out_is_found_on_the_wire(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "a.chaos.yaml"
    file.write_text(
        "faults: [{delay: {segment: syn-ack, by: 600ms}}]\n"
        "client: {use: socket, mode: timeout, timeout: 400ms}\nexpect: {error: timeout}\n"
    )
    assert main(["cliff", "--json", "--precision", "20ms", str(file)]) == commands.PASSED
    told = json.loads(capsys.readouterr().out)
    assert (told["below"]["error"], told["above"]["error"]) == ("ok", "timeout")
    assert 0.25 < told["cliff_s"] < 0.42, "not after the time-out; a busy machine takes some of it for itself"
