"""Which tests one worker of pytest-xdist has together, and in which order they begin: `pytest --dist loadfile`.

A file's tests share what is dear to start, a session of labs or an engine, so that a file is the least that a worker
is given. Some lanes are of several files:

    containers   tests compare what there is of containers, images and the host's network before and after; the last are
                 those in which an owner dies, for whichever session is the next removes what a dead one has left: no
                 other test of the lane is to come, and the sessions of other lanes have long begun
    crowds       hundreds of labs side by side keep every processor busy: two such crowds at once would be no sooner,
                 and late for their timers

What has many labs one after another (the serial run, sessions that are killed) leaves processors to others: those
files are lanes of their own; so is the crowd of an ordinary user, when the others have passed. So are those that have
sessions of containers and look at no other: where they are seen by who looks at the host's network, because their
engine has no other (scripts/engine), they are in the lane of containers. The scenarios are the first of the crowds:
tests ask what became of them. What takes longest begins first, and is not the last of its lane: before a worker begins
that it is given its next lane, which nobody else can have then.
"""

from __future__ import annotations

import os
from typing import Final

CONTAINERS, CROWDS = "containers", "crowds"
ELSEWHERE: Final = "/connect-chaos-engine-" in os.environ.get("DOCKER_HOST", "")
"""Whether containers are in a network of their own."""
FLEETS, CONTRACT = "tests/test_docker_fleets.py", "tests/test_backend_contract.py"
ENGINES = "tests/test_docker_engines.py"
BY_HAND, PLAY = "tests/test_containers.py", "tests/test_docker_play.py"
BY_THEMSELVES: Final = (FLEETS, CONTRACT, ENGINES, BY_HAND, PLAY)
"""Which have sessions of containers, or engines, and look at no other."""
UNPRIVILEGED = "tests/test_unprivileged.py"
OF_DEAD_OWNERS: Final = "tests/test_docker.py::test_after_sigkill_"
WITH_AN_ENGINE: Final = (
    FLEETS,
    CONTRACT,
    BY_HAND,
    "tests/test_docker.py",
    "tests/test_docker_deaths.py",
    ENGINES,
    "tests/test_docker_plan.py",
    PLAY,
    "tests/test_engine_script.py",
    "tests/test_nothing_left.py::test_the_host_is_byte_identical_before_during_and_after",
)
OF_CROWDS: Final = (
    "tests/test_atlas.py",
    "tests/test_docs.py",
    "tests/test_explain.py",
    "tests/test_mutations.py",
)
FIRST: Final = (
    FLEETS,
    CROWDS,
    CONTAINERS,
    "tests/test_many.py",
    CONTRACT,
    ENGINES,
    PLAY,
    BY_HAND,
    "tests/test_plan.py",
    "tests/test_nothing_left.py",
    "tests/test_plugin.py",
    UNPRIVILEGED,
    "tests/test_toxiproxy.py",
)


def lane(nodeid: str) -> str:
    """Whom a test shares its worker with."""
    file = nodeid.partition("::")[0]
    if nodeid.startswith(WITH_AN_ENGINE) and not (ELSEWHERE and file in BY_THEMSELVES):
        return CONTAINERS
    return CROWDS if file in OF_CROWDS or is_scenario(nodeid) else file


def is_scenario(nodeid: str) -> bool:
    """Whether it is no test of ours."""
    return not nodeid.startswith("tests/")


def place(nodeid: str) -> tuple[int, int]:
    """Where a test stands in the order: its lane's place, and its own in the lane."""
    name = lane(nodeid)
    at = FIRST.index(name) if name in FIRST else len(FIRST)
    return at, 2 if nodeid.startswith(OF_DEAD_OWNERS) else int(not is_scenario(nodeid))
