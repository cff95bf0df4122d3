"""The fixture `chaos_lab`: the network broken under an ordinary test, as surely as a scenario's is.

    def test_login(chaos_lab):
        with chaos_lab("client-server", drop={"segment": "syn"}) as lab:
            assert lab.attempt().error == "ETIMEDOUT"

The baseline runs before the block and the recovery after it, and every fault must have touched an attempt of the
block: otherwise nothing is known, and that is a LabError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from chaos import adhoc, kinds
from chaos.backends.lab import AgentLab
from chaos.check import FaultReport
from chaos.errors import LabError, ToolMissing
from chaos.evidence import Evidence, losses
from chaos.model import Client, Outcome, Setting
from chaos.run import Backend, Clock, InForce, Run
from chaos.scenario import Case
from chaos.transcript import render

WHERE: Final = "chaos_lab"
SETTING: Final = ("path", "link", "family", "type", "names", "addresses", "listen", "target", "timing")
"""The keys of a scenario that are no faults, and that the fixture takes as a scenario has them."""


class Labs:
    """What `chaos_lab` is: called with a topology and faults, it is a context manager that yields a BrokenLab."""

    def __init__(self, backend: Backend, strict: bool) -> None:
        self.backend, self._strict = backend, strict

    @contextmanager
    def __call__(
        self, topology: str = "client-server", /, *, client: str | Mapping[str, Any] = "socket", **keys: Any
    ) -> Iterator[BrokenLab]:
        """A lab in which these faults are in force: `drop={"segment": "syn"}`, `closed_port={}`.

        `at` is the node that the client dials, unless said. `client` (an adapter's name, or a scenario's mapping) is
        who attempts by default, and decides what the listener speaks; `path`, `link`, `family`, `type`, `listen`,
        `target` and `timing` are as in a scenario. Raises ScenarioError for what a scenario may not say either,
        LabError when the environment or a fault cannot be believed.
        """
        try:
            case = _case(topology, _client(client), keys)
            with self.backend.start(case.setting) as lab, ExitStack() as undo:
                broken = BrokenLab(case, lab)
                broken.break_it(undo)
                yield broken
                undo.close()
                broken.conclude()
        except ToolMissing as error:
            if self._strict:
                raise
            pytest.skip(str(error))


class BrokenLab:
    """A lab under faults, as a test sees it. `lab` is the running network (model.Lab)."""

    def __init__(self, case: Case, lab: AgentLab) -> None:
        self.lab = lab
        self._case, self._legs = case, Run(case, lab, Clock())
        self._armed: list[InForce] = []
        self._attempts: list[tuple[Evidence, list[int]]] = []

    @property
    def target(self) -> str:
        """What clients dial, `server:8080`; the name resolves inside the lab."""
        return f"{self.lab.setting.target.node}:{self.lab.setting.target.port}"

    @property
    def evidence(self) -> Evidence:
        """Everything that was seen of the last attempt."""
        if not self._attempts:
            raise LabError("there was no attempt yet")
        return self._attempts[-1][0]

    def attempt(
        self,
        use: str | None = None,
        /,
        *,
        command: Sequence[str] | None = None,
        python: str | None = None,
        **parameters: Any,
    ) -> Outcome:
        """Connect once: by an adapter (`"requests"`), a command, a function `pkg.mod:name`, or the lab's client."""
        said = {"use": use, "command": command, "python": python}
        given = {key: value for key, value in said.items() if value is not None}
        client = _client({**given, **parameters}) if given or parameters else self._case.client
        self.lab.release()
        evidence, _ = self._legs.attempt(client)
        self._attempts.append((evidence, [fault.armed.hits() for fault in self._armed]))
        return evidence.outcome

    def packets(self, node: str | None = None) -> list[str]:
        """The last attempt's conversation as `wire` has it (`> syn x2`), at the client or another node."""
        return render(self.evidence.packets[node or self.evidence.client])

    def break_it(self, undo: ExitStack) -> None:
        """Make sure that it works, and arm the faults; `undo` withdraws them."""
        self._legs.require()
        baseline = self._legs.leg("baseline")
        if not baseline.ok:
            raise LabError(f"baseline: {baseline.reason}")
        self._armed = self._legs.arm(undo)

    def conclude(self) -> None:
        """After the faults were withdrawn: raise LabError unless each has touched an attempt and all works again."""
        doubts = [doubt for number in range(len(self._armed)) if (doubt := self._doubt(number))]
        self.lab.quiesce()
        recovery = self._legs.recover()
        if not recovery.ok:
            doubts.append(f"recovery: {recovery.reason}")
        doubts += [f"{where}: {what}" for where, what in losses(self.lab.lost)]
        if doubts:
            raise LabError("\n".join(doubts))

    def _doubt(self, number: int) -> str | None:
        """Why this fault is not proven by any of the attempts, or None when one proves it."""
        fault = self._armed[number]
        reports = [fault.report(hits[number], evidence) for evidence, hits in self._attempts]
        if any(report.hits > 0 and report.unproven is None for report in reports):
            return None
        last = reports[-1] if reports else FaultReport(fault.kind, str(getattr(fault.fault, "at", "")), 0)
        why = "0 hits: it touched nothing" if last.hits <= 0 else f"not proven: {last.unproven}"
        return f"{last.kind} at {last.at}: {why}" + ("" if reports else "; no attempt was made")


def _client(said: str | Mapping[str, Any]) -> Client:
    """A client as a scenario has it; the adapter is said by `use`, `command` or `python`."""
    parameters: dict[str, Any] = {"use": said} if isinstance(said, str) else dict(said)
    named = [key for key in ("command", "python") if key in parameters]
    adapter = str(parameters.pop("use", named[0] if named else "socket"))
    for key in ("command", "steps"):
        if key in parameters:
            parameters[key] = list(parameters[key])
    return kinds.client(adapter, parameters, WHERE)


def _case(topology: str, client: Client, keys: Mapping[str, Any]) -> Case:
    """The fixture's arguments as a case that expects nothing. Raises ScenarioError."""
    said = {"topology": topology} | {key: keys[key] for key in SETTING if key in keys}
    setting: Setting = adhoc.setting(said, client, Path.cwd(), WHERE)
    faults = []
    for key, parameters in keys.items():
        if key not in SETTING:
            kind = key.rstrip("_").replace("_", "-")
            faults.append((kind, adhoc.fault(kind, parameters or {}, setting, WHERE)))
    return adhoc.case(WHERE, "fixture", setting, faults, client, type(client).__name__.lower())
