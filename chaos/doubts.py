"""What `validate` warns of: a case that can be run, and of which explain foretells something else than it expects.

An error is what cannot be (a `check` of a fault or a client, behind.py); a warning is what we believe will not be.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaos.predict import Prediction, predict, schedule
from chaos.scenario import Case
from chaos.typed import Path


def doubts(case: Case) -> Iterator[tuple[Path, str]]:
    """(path in the file, message) of each. A client that is known to fail (`xfail`) may expect what it likes."""
    yield from _compressed(case)
    prediction, expect = predict(case), case.expect
    if case.xfail or expect.error is None or not prediction.errors:
        return
    if expect.error not in prediction.errors:
        yield ("expect", "error"), f"{expect.error} is not what will come: {_told(prediction)}"
    elif len(prediction.errors) > 1 and prediction.phase == "connect":
        yield ("expect", "error"), f"{expect.error} is a race: {_told(prediction)}"
    elif None not in (expect.phase, prediction.phase) and expect.phase != prediction.phase:
        yield ("expect", "phase"), f"{expect.error} will come in {prediction.phase}: {_told(prediction)}"


def _compressed(case: Case) -> Iterator[tuple[Path, str]]:
    unit, setting = schedule(case.setting).unit, case.setting
    if unit.compressed and setting.path == "routed" and setting.rtt > unit.rto:
        trip, most = f"{setting.rtt * 1000:g} ms", f"{unit.rto * 1000:g} ms"
        text = f"a round trip of {trip} is longer than the unit of compressed time ({most})"
        yield ("link", "rtt"), f"{text}: SYNs are sent again before their answer can be back"


def _told(prediction: Prediction) -> str:
    """The foretold end, with the last thing that happens before it."""
    errors, phase = " or ".join(prediction.errors), prediction.phase
    because = f", for {prediction.events[-1][1]}" if prediction.events else ""
    return f"`connect-chaos explain` foretells {errors}{f' in {phase}' if phase else ''}{because}"
