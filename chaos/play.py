"""A lab to play with: it stays up under its faults, and serves shells in its nodes until it is told to end.

One thread, one poll(2): the control socket, its connections, and what the agents say. A connection is one program:

    {"do": "shell", "node": "client", "job": {...}} + 3 descriptors -> what the operation `passthrough` returns
    {"do": "down"}                                                  -> the end; the connection closes when it has come
    a request that cannot be served                                 -> {"error": text, "input": whether it is bad input}

Who hangs up ends his program.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from chaos import control, kinds
from chaos.backends.channel import Passed
from chaos.backends.lab import AgentLab
from chaos.errors import LabError, Problem, ScenarioError
from chaos.run import Backend, Clock, Run
from chaos.scenario import Case


@contextmanager
def broken_lab(case: Case, backend: Backend) -> Iterator[AgentLab]:
    """A lab that has been seen to work and in which the case's faults are armed. Nothing is captured any more."""
    with backend.start(case.setting) as lab, ExitStack() as undo:
        legs = Run(case, lab, Clock())
        legs.require()
        baseline = legs.leg("baseline")
        if not baseline.ok:
            raise LabError(f"baseline: {baseline.reason}")
        legs.arm(undo)
        for node in lab.captured:
            lab.nodes[node].call("capture", do="discard")
        yield lab


def open_program(lab: AgentLab, node: str, job: dict[str, Any], fds: Sequence[int]) -> Passed:
    """Start a program in a node on these three descriptors. Raises ScenarioError when there is no such node."""
    if node not in lab.nodes:
        raise ScenarioError([Problem("shell", 0, 0, kinds.no_node(node, list(lab.nodes)))])
    return lab.nodes[node].hand_over(fds, "passthrough", job=job)


class Play:
    """The shells of one lab."""

    def __init__(self, lab: AgentLab, listening: socket.socket) -> None:
        self._lab, self._listening = lab, listening
        self._programs: dict[int, tuple[socket.socket, Passed | None]] = {}

    def serve(self) -> socket.socket:
        """Serve until `down`; returns its connection, which says by closing that the lab has ended.

        Raises LabError when the lab dies.
        """
        while True:
            self._report()
            ready = self._ready()
            if self._listening.fileno() in ready:
                connection, _ = self._listening.accept()
                self._programs[connection.fileno()] = (connection, None)
            for fd in ready & self._programs.keys():
                if self._hear(*self._programs[fd]):
                    return self._programs.pop(fd)[0]

    def _ready(self) -> set[int]:
        poll = select.poll()
        readers = {node.channel.reader for node in self._lab.nodes.values()}
        news = [program.news for _, program in self._programs.values() if program is not None]
        for fd in {self._listening.fileno(), *self._programs, *readers, *news}:
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll()}

    def _report(self) -> None:
        """Take in all that the agents say, then pass it on: what an answer to us brought along wakes nobody again."""
        for channel in {node.channel for node in self._lab.nodes.values()}:
            while channel.pump(0):
                pass
        for connection, program in list(self._programs.values()):
            if program is not None and program.told():
                try:
                    self._answer(connection, program.next(0.0))
                except LabError as error:
                    self._answer(connection, {"error": str(error), "input": False})

    def _answer(self, connection: socket.socket, message: dict[str, Any]) -> None:
        del self._programs[connection.fileno()]
        with connection:
            try:
                control.say(connection, message)
            except LabError:
                return  # he has gone

    def _hear(self, connection: socket.socket, program: Passed | None) -> bool:
        """One message of a connection; whether it is the end of the lab."""
        request, fds = control.heard(connection)
        try:
            if request is None:
                del self._programs[connection.fileno()]
                connection.close()
                if program is not None:
                    program.tell("end")
            elif request.get("do") == "down":
                return True
            elif program is None:
                self._start(connection, request, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return False

    def _start(self, connection: socket.socket, request: dict[str, Any], fds: Sequence[int]) -> None:
        try:
            program = open_program(self._lab, str(request.get("node")), request.get("job", {}), fds)
        except (ScenarioError, LabError) as error:
            bad_input = isinstance(error, ScenarioError)
            self._answer(connection, {"error": str(error), "input": bad_input})
        else:
            self._programs[connection.fileno()] = (connection, program)
