"""The atlas: what a client surfaced of each cause, on this kernel, over each family; as data, and two of them compared.

A cause is a scenario file, without the name of a family in it; `admin-prohibited` and `admin-prohibited-ipv6` are one.
A row is what a run has seen, not what its scenario expects. Times are told in seconds and compared by their `moment`,
for a kernel's timers are seconds apart and a machine's moods are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from chaos.findings import Kind as Judged
from chaos.model import Family, Phase, Timing
from chaos.schedule import Schedule, window
from chaos.transcript import render

if TYPE_CHECKING:
    from chaos.run import Result
    from chaos.scenario import Case

Kind = Judged | Literal["SKIP", "XFAIL"]
Moment = Literal["before a retransmission", "during the SYN schedule", "after the SYN schedule"]
ENDING: Final = ".chaos.yaml"
FAMILIES: Final = get_args(Family)
Domain = Family | Literal["local"]


@dataclass(frozen=True)
class Row:
    """One case. What follows `verdict` is None or empty where there was no attempt to be believed.

    id: the case as pytest names it. group, cause, variant: its folder, file and name, without the family.
    faults: such as `drop at server`. seconds: from the attempt's first segment to its end, to the millisecond; `moment`
        is their class.
    wire: lines of the wire language, the conversation at the client. reasons: of any verdict but PASS.
    """

    id: str
    group: str
    cause: str
    variant: str
    faults: tuple[str, ...]
    family: Domain
    timing: Timing
    verdict: Kind
    error: str | None = None
    phase: Phase | None = None
    seconds: float | None = None
    moment: Moment | None = None
    wire: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it wherever its file lies; rows are in this order."""
        return self.group, self.cause, self.variant, self.family

    @property
    def observed(self) -> bool:
        """Whether its attempt may be believed."""
        return self.verdict in ("PASS", "FAIL", "XFAIL")


@dataclass(frozen=True)
class Atlas:
    """The rows of one run. `kernel` is its release (uname -r), `date` the day in ISO 8601, `client` the adapter."""

    kernel: str
    date: str
    client: str
    rows: tuple[Row, ...]


def row(case: Case, verdict: Kind, reasons: Sequence[str], result: Result | None) -> Row:
    """The row of a case that ended so; `result` is None when it was skipped."""
    family: Domain = "local" if case.setting.local else case.setting.family
    said = Row(
        id=case.node_id,
        group=case.file.parent.name,
        cause=_without(family, case.file.name.removesuffix(ENDING)),
        variant=_without(family, case.name) if case.name != "default" else "",
        faults=tuple(f"{kind} at {at}" if (at := getattr(it, "at", "")) else kind for kind, it in case.faults),
        family=family,
        timing=case.setting.timing,
        verdict=verdict,
        reasons=tuple(reasons),
    )
    return Row(**{**vars(said), **_surfaced(result)}) if result and said.observed else said


def _without(family: str, name: str) -> str:
    """`socket-ipv6` as `socket`."""
    return "-".join(word for word in name.split("-") if word != family)


def _surfaced(result: Result) -> dict[str, Any]:
    if result.evidence is None:
        return {}
    outcome = result.evidence.outcome
    return {
        "error": outcome.error,
        "phase": outcome.phase,
        "seconds": None if outcome.elapsed is None else round(outcome.elapsed, 3),
        "moment": moment(outcome.elapsed, result.schedule),
        "wire": tuple(render(result.evidence.packets[result.evidence.client])),
    }


def moment(seconds: float | None, schedule: Schedule | None) -> Moment | None:
    """Where this time lies in the kernel's schedule for an unanswered SYN."""
    if seconds is None or schedule is None:
        return None
    first = (*schedule.sends[1:], schedule.gives_up)[0]
    if seconds < window(first)[0]:
        return "before a retransmission"
    return "during the SYN schedule" if seconds < schedule.window[0] else "after the SYN schedule"


def ordered(rows: Iterable[Row]) -> tuple[Row, ...]:
    """By group, cause and variant, and in each by family."""
    return tuple(sorted(rows, key=lambda row: row.key))


# -- two atlases


def series(kernel: str) -> str:
    """`6.18` of `6.18.44-generic`: within it the kernel's behaviour is not meant to change."""
    return ".".join(kernel.split(".")[:2])


def strangers(shipped: Atlas, here: Atlas) -> list[str]:
    """Cases that only one of the two has: the shipped atlas is older than the scenarios, or newer."""
    theirs, ours = ({row.key: row for row in atlas.rows} for atlas in (shipped, here))
    return [
        *(f"{row.id}: not in the shipped atlas" for key, row in ours.items() if key not in theirs),
        *(f"{row.id}: in the shipped atlas, and no scenario" for key, row in theirs.items() if key not in ours),
    ]


def common(shipped: Atlas, here: Atlas) -> Atlas:
    """The shipped atlas less what was not asked for here."""
    asked = {row.key for row in here.rows}
    return replace(shipped, rows=tuple(row for row in shipped.rows if row.key in asked))


def differing(shipped: Atlas, here: Atlas) -> list[tuple[Row, Row]]:
    """(row there, row here) of what ended otherwise: error, phase or moment; never of what was skipped."""
    before = {row.key: row for row in shipped.rows}
    both = [(before[row.key], row) for row in here.rows if row.key in before]
    tried = [pair for pair in both if "SKIP" not in (pair[0].verdict, pair[1].verdict)]
    return [(then, now) for then, now in tried if _ending(then) != _ending(now)]


def differences(shipped: Atlas, here: Atlas) -> list[str]:
    """What ended otherwise here, a line each."""
    return [
        f"{now.id}: {_ending(then)} on Linux {shipped.kernel}, and {_ending(now)} on Linux {here.kernel}"
        for then, now in differing(shipped, here)
    ]


def _ending(row: Row) -> str:
    if not row.observed:
        return f"{row.verdict} ({'; '.join(row.reasons)})"
    where = f" in {row.phase}" if row.phase else ""
    return f"{row.error or 'an error without a name'}{where} {row.moment or ''}".rstrip()


# -- as text for programs


def dumps(atlas: Atlas) -> str:
    """As JSON: the fields of Atlas, and in `rows` those of Row, a row a line."""
    head = {"kernel": atlas.kernel, "date": atlas.date, "client": atlas.client}
    rows = ",\n".join(f"  {json.dumps(_plain(row), ensure_ascii=False)}" for row in atlas.rows)
    return f'{json.dumps(head)[:-1]}, "rows": [\n{rows}\n]}}\n'


def _plain(row: Row) -> dict[str, Any]:
    """The fields that are there."""
    return {name: value for name, value in asdict(row).items() if value not in (None, ())}


def loads(text: str) -> Atlas:
    """What `dumps` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    said = json.loads(text)
    rows = [{name: _tuple(value) for name, value in row.items()} for row in said["rows"]]
    return Atlas(said["kernel"], said["date"], said["client"], tuple(Row(**{"faults": (), **row}) for row in rows))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def by_error(rows: Iterable[Row]) -> Iterator[tuple[str, Phase | None, list[Row]]]:
    """(error, phase, its rows) for everything that was surfaced, in alphabetical order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for each in rows:
        if each.observed:
            found.setdefault((each.error or "no error by name", each.phase or ""), []).append(each)
    for (error, _), those in sorted(found.items()):
        yield error, those[0].phase, those
