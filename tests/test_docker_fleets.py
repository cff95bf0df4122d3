"""Hundreds of labs in containers, which serve one after another: every scenario has the verdict that it has on netns,
and there is no wrong green: of every kind of fault one scenario, with one thing wrong at a time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from chaos import topology
from chaos.backends import runs
from chaos.backends.docker import Docker
from chaos.backends.group import Kind, kind_of
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.model import RESOLVER, Service, Setting
from chaos.run import run
from chaos.scenario import Case
from chaos.shared import NETNS_ONLY
from tests import shipped
from tests.engines import NOTHING, docker_engine, labelled
from tests.mutations import BYSTANDER, Mutant, mutants
from tests.rows import in_rows
from tests.shipped import Ended
from tests.test_mutations import WAITED, problems, row_of, table, tried

__all__ = ["docker_engine"]
pytestmark = [
    pytest.mark.usefixtures("docker_engine"),
    pytest.mark.slow("starts containers, and hundreds of labs in them"),
]
UNPRIVILEGED = ("EACCES", "EPERM")
SLOW = ("ETIMEDOUT", "hang")
"""Ends for which the kernel or the harness needs seconds: a scenario with another end shows the same."""
BESIDE = """
  bystander:
    image: connect-chaos/node
    command: [sleep, infinity]
"""
PROXY_BESIDE = """
  bystander:
    image: {image}
    command: [-host=127.0.0.1, -proxy-metrics]
    x-chaos: {{toxiproxy: {{listen: {port}, upstream: "{upstream}"}}}}
"""


def sample() -> list[Case]:
    """One scenario of every kind of fault: those that differ least in their lab, and end soonest.

    None whose client drops its privileges: an agent in a container has none to drop.
    """
    found: dict[str, Case] = {}
    plain = [case for case in shipped.cases() if case.setting.timing == "short" and case.adapter == "socket"]
    for case in sorted(plain, key=cost):
        if len(case.faults) == 1 and NETNS_ONLY not in case.tags and case.expect.error not in UNPRIVILEGED:
            found.setdefault(case.faults[0][0], case)
    return list(found.values())


def cost(case: Case) -> tuple[int, int, int, str]:
    setting = case.setting
    return (setting.family != "ipv4", setting.path != "routed", case.expect.error in SLOW, case.node_id)


class InContainers:
    """The docker backend for mutants: a bystander that a setting has and its Compose file has not is written there."""

    def __init__(self, backend: Docker, folder: Path) -> None:
        self._backend, self._folder = backend, folder
        self._lock = threading.Lock()

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        bystander = setting.topology.services.get(BYSTANDER)
        if bystander is not None:
            there = topology.load(self._file(setting, bystander))
            added = {name: one for name, one in setting.topology.services.items() if name == RESOLVER}  # in no file
            setting = replace(setting, topology=replace(there, services={**there.services, **added}))
        with self._backend.start(setting) as lab:
            yield lab

    def _file(self, setting: Setting, bystander: Service) -> Path:
        """The Compose file with the bystander, the same one each time."""
        text = BESIDE
        if bystander.proxy is not None:
            (port, upstream), images = bystander.proxy, setting.topology.services
            image = images[setting.target.node].image
            text = PROXY_BESIDE.format(image=image, port=port, upstream=f"{upstream.node}:{upstream.port}")
        whole = Path(setting.topology.file).read_text().replace("services:\n", f"services:{text}", 1)
        file = self._folder / f"{setting.topology.name}-{bystander.proxy is not None}" / "compose.yaml"
        with self._lock:
            if not file.exists():
                file.parent.mkdir()
                file.write_text(whole)
        return file


def chosen(cases: Sequence[Case]) -> Iterator[Mutant]:
    """Every mutant, but of those without a listener one: no fault has a part in it, and its containers are lost.

    And but a second DNS server: a Compose file has none, and the one of the lab is `dns`.
    """
    without = True
    for mutant in (mutant for case in cases for mutant in mutants(case)):
        if (mutant.mutation, mutant.case.faults[0][0]) == (BYSTANDER, "dns"):
            continue
        if mutant.mutation != "no listener":
            yield mutant
        elif without:
            without = False
            yield mutant


@dataclass(frozen=True)
class Fleet:
    """What became of mutants in containers, by identity, and of scenarios as they are, by their cases' ids."""

    planned: Sequence[Mutant]
    of_mutants: Mapping[int, Ended]
    ended: Mapping[str, Ended]


@pytest.fixture(scope="module")
def fleet(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All of them in one session, so that no containers wait for others to end. A mutant's control is its scenario."""
    planned = list(chosen(sample()))
    changed = [mutant for mutant in planned if mutant.run and mutant.mutation != "control"]
    cases = {case.node_id: case for case in (*shared_cases(), *sample())}.values()
    as_they_are = [next(mutants(case)) for case in cases]
    with Docker() as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr("chaos.clients.socket.WAITED", WAITED)
        backend = InContainers(session, tmp_path_factory.mktemp("beside"))
        todo = [*changed, *as_they_are]
        found = dict(ends_of(todo, backend))
        fallen = [one for one in as_they_are if shipped.fell(one.case, found[id(one)])]
        found |= ends_of(fallen, backend)  # a busy machine has kept them from their time, or from their fault
        yield Fleet(planned, found, {one.case.node_id: found[id(one)] for one in as_they_are})
    assert labelled(f"{runs.RUN}={session._run}") == NOTHING


def ends_of(those: Sequence[Mutant], backend: InContainers) -> Iterator[tuple[int, Ended]]:
    """What became of each, by its identity."""
    if those:
        yield from zip(map(id, those), in_rows(those, sharing, lambda one: tried(one, backend)), strict=True)


def shared_cases() -> list[Case]:
    """The scenarios that have the verdict in containers that they have on netns."""
    found = [case for case in shipped.cases() if NETNS_ONLY not in case.tags and shipped.can_run(case)]
    return [case for case in found if case.setting.timing != "compressed"]


def test_no_mutant_survives_in_containers(fleet: Fleet, tell: Callable[[str], None]) -> None:
    controls = [fleet.ended[mutant.case.node_id] for mutant in fleet.planned]
    rows = [row_of(one, control, fleet.of_mutants) for one, control in zip(fleet.planned, controls, strict=True)]
    tell(table(rows))
    assert not list(problems(rows)), "\n  ".join(["", *problems(rows)])


def sharing(mutant: Mutant) -> tuple[Kind, bool]:
    """What is alike in mutants that share containers."""
    assert mutant.run is not None
    setting = mutant.run[0].setting
    return kind_of(setting), BYSTANDER in setting.topology.services


# -- the verdicts of both backends


def vector(results: Iterable[Ended]) -> list[tuple[str, ...]]:
    """(verdict, error, phase) of each, or why it was skipped."""
    found: list[tuple[str, ...]] = []
    for result in results:
        if isinstance(result, ToolMissing):
            found.append(("skipped", str(result)))
        else:
            outcome = result.evidence.outcome if result.evidence else None
            said = (str(outcome.error), str(outcome.phase)) if outcome else ("", str(result.verdict.reasons))
            found.append((result.verdict.kind, *said))
    return found


def test_every_scenario_has_the_verdict_that_it_has_on_netns(fleet: Fleet, tell: Callable[[str], None]) -> None:
    on_netns = [result for result in shipped.results().values() if NETNS_ONLY not in result.case.tags]
    cases = [result.case for result in on_netns]
    pairs = list(zip(vector(on_netns), vector(fleet.ended[case.node_id] for case in cases), strict=True))
    unlike = [case for case, (netns, docker) in zip(cases, pairs, strict=True) if netns != docker]
    again = ", ".join(case.node_id for case in unlike) or "none"
    tell(f"{Counter(docker[0] for _, docker in pairs)} in containers, of {len(pairs)} cases; run again: {again}")
    assert [*differing(unlike)] == []


def differing(cases: Iterable[Case]) -> Iterator[tuple[str, ...]]:
    """The cases that differ again when nothing else runs: a busy machine misses a time-out's window now and then."""
    with Netns() as namespaces, Docker() as containers:
        for case in cases:
            netns, docker = vector([run(case, namespaces)]), vector([shipped.end_of(case, containers)])
            if netns != docker:
                yield (case.node_id, *netns[0], *docker[0])


def test_every_kind_of_fault_is_in_the_sample() -> None:
    kinds = {kind for case in shipped.cases() for kind, _ in case.faults if case.setting.timing == "short"}
    assert {kind for case in sample() for kind, _ in case.faults} == kinds
