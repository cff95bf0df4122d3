"""64 labs at once with the same addresses and ports: what a capture has that is not its lab's, and the verdicts."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.measure import SCENARIOS, Row
from chaos.backends.netns import Netns
from chaos.packets import decode
from chaos.pool import Turns, auto_jobs
from chaos.run import Backend, Result, run
from chaos.scenario import Case, load

LABS, ROUNDS = 64, 20
FILES = ("handshake/accepted-socket", "refused/closed-port", "reset/aborted-connection", "unreachable/router-route")
NONCE = re.compile(rb"\b[0-9a-f]{16}\b")
"""What the socket client sends has it, and no two attempts have the same."""
PATIENCE = 60.0


def rows() -> Iterator[Row]:
    """Twenty rounds; each lab waits in the middle of its attempt until all 64 are there."""
    foreign = wrong = 0
    with Netns() as backend:
        alone = {case.node_id: run(case, backend).verdict.kind for case in cases()}
        for _ in range(ROUNDS):
            results = at_once(chosen(LABS), backend)
            foreign += sum(strangers(result) for result in results)
            wrong += sum(result.verdict.kind != alone[result.case.node_id] for result in results)
    of = f"{ROUNDS} x {LABS} labs"
    yield Row(f"{of} at once: foreign packets", foreign, "", 0, "the nonce of another lab in a capture")
    yield Row(f"{of} at once: verdicts unlike those of a serial run", wrong, "", 0)


def cases() -> list[Case]:
    """The socket client's, of a few files."""
    found = [case for name in FILES for case in load(SCENARIOS / f"{name}.chaos.yaml").cases]
    return [case for case in found if case.adapter == "socket"]


def chosen(count: int) -> list[Case]:
    """So many, in turn."""
    these = cases()
    return [these[number % len(these)] for number in range(count)]


def at_once(these: Sequence[Case], backend: Backend) -> list[Result]:
    """Run them so that all labs are in the middle of their attempt at the same time."""
    everybody, turns = threading.Barrier(len(these)), Turns(auto_jobs())

    @contextmanager
    def idle() -> Iterator[None]:
        with turns.idle():
            everybody.wait(PATIENCE)
            yield

    def work(case: Case) -> Result:
        with turns.turn():
            return run(case, backend, idle)

    with ThreadPoolExecutor(len(these)) as pool:
        return list(pool.map(work, these))


def strangers(result: Result) -> int:
    """Packets with a nonce that no client of this lab has sent."""
    client = result.case.setting.client
    own = {nonce for outgoing, nonce in nonces(result, client) if outgoing}
    assert own, f"{result.case.node_id} sent no nonce: {result.verdict}"
    return sum(nonce not in own for node in result.frames for _, nonce in nonces(result, node))


def nonces(result: Result, node: str) -> Iterator[tuple[bool, bytes]]:
    """Whether it was sent from there, and the nonce, for every packet of a node's capture that has one."""
    for frame in result.frames[node]:
        packet = decode(frame)
        if packet is not None and (found := NONCE.search(packet.payload)):
            yield frame.outgoing, found.group()
