"""No wrong green in containers either: of every kind of fault one scenario, with one thing wrong at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import topology
from chaos.backends.docker import Docker
from chaos.backends.group import Kind, kind_of
from chaos.backends.lab import AgentLab
from chaos.model import RESOLVER, Service, Setting
from chaos.run import Backend
from chaos.scenario import Case
from tests import shipped
from tests.engines import docker_engine
from tests.mutations import BYSTANDER, Mutant, mutants
from tests.rows import in_rows
from tests.test_docker import NETNS_ONLY
from tests.test_mutations import WAITED, Row, problems, row_of, table, tried

__all__ = ["docker_engine"]
pytestmark = [pytest.mark.usefixtures("docker_engine"), pytest.mark.slow("starts containers, and a lab a mutant")]
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


def test_every_kind_of_fault_is_in_the_sample() -> None:
    kinds = {kind for case in shipped.cases() for kind, _ in case.faults if case.setting.timing == "short"}
    assert {kind for case in sample() for kind, _ in case.faults} == kinds


def test_no_mutant_survives_in_containers(
    tmp_path: Path, tell: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.clients.socket.WAITED", WAITED)
    planned = list(chosen(sample()))
    with Docker() as session:
        rows = run_all(planned, InContainers(session, tmp_path))
    tell(table(rows))
    assert not list(problems(rows)), "\n  ".join(["", *problems(rows)])


def run_all(planned: Sequence[Mutant], backend: Backend) -> list[Row]:
    todo = [mutant for mutant in planned if mutant.run]
    done = dict(zip(map(id, todo), in_rows(todo, sharing, lambda mutant: tried(mutant, backend)), strict=True))
    controls = {mutant.case.node_id: done[id(mutant)] for mutant in planned if mutant.mutation == "control"}
    return [row_of(mutant, controls[mutant.case.node_id], done.get(id(mutant))) for mutant in planned]


def sharing(mutant: Mutant) -> tuple[Kind, bool]:
    """What is alike in mutants that share containers."""
    assert mutant.run is not None
    setting = mutant.run[0].setting
    return kind_of(setting), BYSTANDER in setting.topology.services
