"""Labs for tests that ask a real kernel: a session for a module, and a lab of two nodes for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.model import Service, Setting, Topology

TOPOLOGY = Topology("two", "compose.yaml", {"client": Service("client"), "server": Service("server")})


@pytest.fixture(scope="module")
def session() -> Iterator[Netns]:
    with Netns() as netns:
        yield netns


@pytest.fixture
def lab(session: Netns) -> Iterator[AgentLab]:
    with session.start(Setting(TOPOLOGY)) as lab:
        yield lab
