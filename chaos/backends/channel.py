"""The host's end of agents: requests, results, events. The same for a namespace's socket and a container's stdio.

Not thread-safe: a lab belongs to the thread that runs it.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from chaos.errors import CommandFailed, InVain, LabError, ToolMissing

TIMEOUT = 30.0
READ = 1 << 16
"""Bytes of a read; for much more than these, malloc(3) would map and unmap memory each time."""
POLL, RARER = 0.005, 20
"""Seconds between two looks at a condition that no agent tells of by itself, and more of them: this part of those that
it has not held for."""
INSTALL = {
    "iptables": "apt-get install iptables",
    "iptables-restore": "apt-get install iptables",
    "iptables-save": "apt-get install iptables",
    "ip6tables-restore": "apt-get install iptables",
    "ip6tables-save": "apt-get install iptables",
    "ip": "apt-get install iproute2",
    "curl": "apt-get install curl",
    "toxiproxy": "pip install toxiproxy-python",
    "dnslib": "pip install dnslib",
}

Question = tuple[str, Mapping[str, Any]]
"""An operation and its arguments."""
Asked = tuple[str, str, Mapping[str, Any]]
"""A node, and what it is asked."""
Questions = Mapping[str, Sequence[Question]]
"""What nodes are asked, by node."""
NOTHING: Questions = {}

_encoded = json.JSONEncoder(separators=(",", ":")).encode
_decoded = json.JSONDecoder().decode


def readable(fds: Iterable[int], timeout: float) -> bool:
    """Wait until one of the descriptors can be read; poll(2), for select(2) ends at descriptor 1023."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1000))


class Channel:
    """JSON lines over two file descriptors that we own, to the agents of one process, whose nodes are known by name."""

    passes_descriptors = True
    """Whether the agent is at the other end of a socket of this machine (SCM_RIGHTS)."""

    def __init__(self, node: str, reader: int, writer: int) -> None:
        """`node`: one of them, for messages, until another one is spoken to."""
        self.node, self.reader, self._writer = node, reader, writer
        self._rest: list[bytes] = []
        self._nodes: dict[int, str] = {}
        self._results: dict[int, Mapping[str, Any]] = {}
        self._events: dict[int, deque[Any]] = {}
        self._ended: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(reader, select.POLLIN)
        self.dead = False

    def close(self) -> None:
        """Hang up; the agent ends."""
        for fd in {self.reader, self._writer}:
            os.close(fd)

    def send(self, node: str, operation: str, arguments: Mapping[str, Any], fds: Sequence[int] = ()) -> int:
        """Send a request, with descriptors for the operation to use; returns its number for `result`."""
        (number,) = self.send_all([(node, operation, arguments)], fds)
        return number

    def send_all(self, questions: Sequence[Asked], fds: Sequence[int] = ()) -> list[int]:
        """Send several requests at once, to be done one after another; returns their numbers."""
        numbers = [*range(len(self._nodes) + 1, len(self._nodes) + 1 + len(questions))]
        self._write(self._line(zip(numbers, questions, strict=True)), fds)
        return numbers

    def post(self, node: str, operation: str, arguments: Mapping[str, Any]) -> None:
        """Send a request that is answered only if it fails; whoever takes in the answer is told."""
        self._write(self._line([(-len(self._nodes) - 1, (node, operation, arguments))]))

    def _line(self, numbered: Iterable[tuple[int, Asked]]) -> bytes:
        requests = []
        for number, (node, operation, arguments) in numbered:
            self.node = self._nodes[abs(number)] = node
            requests.append({"id": number, "node": node, "op": operation, "args": arguments})
        return _encoded(requests).encode() + b"\n"

    def _write(self, lines: bytes, fds: Sequence[int] = ()) -> None:
        data = memoryview(lines)
        try:
            if fds:
                data = data[self._send_along(data, fds) :]
            while data:
                data = data[os.write(self._writer, data) :]
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def _send_along(self, data: memoryview, fds: Sequence[int]) -> int:
        """The beginning of a request with descriptors (SCM_RIGHTS); how much of it was sent."""
        if not self.passes_descriptors:
            raise LabError("descriptors cannot be handed over to a container; with `--backend netns` they can")
        with socket.socket(fileno=os.dup(self._writer)) as sock:
            return socket.send_fds(sock, [data], fds)

    def result(self, number: int, timeout: float = TIMEOUT) -> Any:
        """Wait for the answer to a request."""
        deadline = time.monotonic() + timeout
        while number not in self._results:
            if not self.pump(deadline - time.monotonic()):
                raise LabError(f"the agent in node {self._nodes[number]!r} did not answer within {timeout:g} s")
        answer = self._results.pop(number)
        if "error" in answer:
            raise self._failure(number, answer["error"])
        return answer["result"]

    def pump(self, timeout: float) -> bool:
        """Take in what the agent says, waiting for at most `timeout` seconds; False when nothing came."""
        if not self._poll.poll(max(0.0, timeout) * 1000):
            return False
        try:
            data = self._receive()
        except ConnectionResetError:
            data = b""
        if data is None:
            return True
        if not data:
            raise self._died()
        self._rest.append(data)
        if b"\n" not in data:
            return True
        *lines, rest = b"".join(self._rest).split(b"\n")
        self._rest = [rest]
        told = itertools.chain.from_iterable(_decoded(f"[{b','.join(lines).decode()}]"))
        failures = [failure for message in told if (failure := self._sort(message))]
        if failures:
            raise failures[0]
        return True

    def _receive(self) -> bytes | None:
        """What one read(2) brings: empty at the end of the stream, None when it was nothing for us."""
        return os.read(self.reader, READ)

    def _sort(self, message: Mapping[str, Any]) -> LabError | None:
        """Keep it for whoever asks; the failure of a request that nobody waits for is returned."""
        if "id" in message:
            if message["id"] < 0:
                return self._failure(-message["id"], message["error"])
            self._results[message["id"]] = message
        elif "ended" in message:
            self._ended[message["child"]] = message["ended"]
        else:
            self._events.setdefault(message["child"], deque()).append(message["event"])
        return None

    def event(self, child: int, timeout: float) -> Any:
        """The next event of a child; None after `timeout` seconds. LabError when it has died or failed."""
        deadline = time.monotonic() + timeout
        while not self._events.get(child):
            if child in self._results:
                raise self._failure(child, self._results.pop(child)["error"])  # it could not be started
            if child in self._ended:
                text = f"a child of the agent in node {self._nodes[child]!r} died (status {self._ended[child]})"
                raise LabError(text)
            if not self.pump(deadline - time.monotonic()) and time.monotonic() >= deadline:
                return None
        event = self._events[child].popleft()
        if isinstance(event, dict) and "error" in event:
            raise self._failure(child, event["error"])
        return event

    def has_event(self, child: int) -> bool:
        """Whether an event of this child has come in, without waiting."""
        while self.pump(0):
            pass
        return self.holds(child)

    def holds(self, child: int) -> bool:
        """Whether an event of this child is among what was taken in."""
        return bool(self._events.get(child)) or child in self._ended or child in self._results

    def _died(self) -> LabError:
        self.dead = True
        return LabError(f"the agent in node {self.node!r} died")

    def _failure(self, number: int, error: Mapping[str, Any]) -> LabError:
        if error["kind"] == "missing":
            tool = error["tool"]
            return ToolMissing(tool, INSTALL.get(tool, f"the package that has `{tool}`"))
        if error["kind"] == "failed":
            return CommandFailed(error["argv"], error["status"], error["stderr"])
        return LabError(f"node {self._nodes[number]!r}: {error['message']}")


class Passed(Protocol):
    """A program of the user's on the user's own descriptors: a model.Running that can be waited for with others."""

    @property
    def news(self) -> int:
        """A descriptor that can be read when there may be an event."""

    def next(self, deadline: float) -> Any: ...
    def ready(self) -> bool: ...
    def told(self) -> bool: ...
    def tell(self, message: Any) -> None: ...


class ChildOf:
    """A running child of an agent (model.Running), with the number of the request that started it."""

    def __init__(self, channel: Channel, node: str, number: int) -> None:
        self._channel, self._node, self._number = channel, node, number

    @property
    def news(self) -> int:
        """Of all children of this agent."""
        return self._channel.reader

    def next(self, deadline: float) -> Any:
        return self._channel.event(self._number, deadline)

    def expect(self, key: str, deadline: float = TIMEOUT) -> Any:
        """Skip events until one that has this key; its value."""
        until = time.monotonic() + deadline
        while (event := self.next(max(0.0, until - time.monotonic()))) is not None:
            if key in event:
                return event[key]
        raise LabError(f"node {self._node!r}: no {key!r} within {deadline:g} s")

    def ready(self) -> bool:
        return self._channel.has_event(self._number)

    def told(self) -> bool:
        """Whether an event is among what was taken in, without looking for more."""
        return self._channel.holds(self._number)

    def tell(self, message: Any) -> None:
        self._channel.post(self._node, "child", {"number": self._number, "tell": message})

    def stop(self, *, stop: bool) -> None:
        """SIGSTOP, or SIGCONT."""
        self._ask({"number": self._number, "stop": stop})

    def end(self, *, forget: bool = False) -> None:
        """`forget`: a server closes what it has accepted before, silently."""
        self._ask({"number": self._number, "end": True, "forget": forget})

    def _ask(self, arguments: Mapping[str, Any]) -> None:
        self._channel.result(self._channel.send(self._node, "child", arguments))


class AgentNode:
    """One node, reached through its agent (model.Node)."""

    def __init__(
        self,
        name: str,
        address: str,
        interface: str,
        channel: Channel,
        learnt: dict[Any, Any] | None = None,
        forkserver: Callable[[Sequence[str]], int] | None = None,
    ) -> None:
        """`learnt`: of the nodes of this session, where they are all alike. `forkserver`: the descriptor of one of the
        session's, by the libraries that it has loaded; without it nodes have their own.
        """
        self.name, self.address, self.interface, self.channel = name, address, interface, channel
        self.learnt = {} if learnt is None else learnt
        self._forkserver = forkserver

    def call(self, operation: str, /, **arguments: Any) -> Any:
        return self.channel.result(self.channel.send(self.name, operation, arguments))

    def start(self, operation: str, /, **arguments: Any) -> ChildOf:
        libraries = arguments.get("libraries")
        fds = () if libraries is None or self._forkserver is None else (self._forkserver(libraries),)
        return ChildOf(self.channel, self.name, self.channel.send(self.name, operation, arguments, fds))

    def check(self) -> None:
        """LabError when what the node runs is not what it was; an agent that has died says so by itself."""

    def hand_over(self, fds: Sequence[int], operation: str, /, **arguments: Any) -> Passed:
        """`start`, with descriptors of ours for the operation to use; ours stay open."""
        return ChildOf(self.channel, self.name, self.channel.send(self.name, operation, arguments, fds))


def everywhere(nodes: Mapping[str, AgentNode], operation: str, **arguments: Any) -> dict[str, Any]:
    """Run one operation in every node at once; the results by node."""
    answers = asked(nodes, {name: [(operation, arguments)] for name in nodes})
    return {name: result for name, (result,) in answers.items()}


def asked(nodes: Mapping[str, AgentNode], *rounds: Questions) -> dict[str, list[Any]]:
    """Run several operations in several nodes, those of one node in their order; the last round's results, by node.

    A round begins when the one before has been done. Where one process has all agents, everything is one message.
    """
    if len({nodes[name].channel for questions in rounds for name in questions}) > 1:
        for questions in rounds[:-1]:
            asked(nodes, questions)
        rounds = rounds[-1:]
    before, wanted = [each for questions in rounds[:-1] for each in _flat(questions)], _flat(rounds[-1])
    results = [channel.result(number) for channel, number in _sent(nodes, [*before, *wanted])]
    found = iter(results[len(before) :])
    return {name: [next(found) for _ in each] for name, each in rounds[-1].items()}


def _flat(questions: Questions) -> list[Asked]:
    return [(name, *question) for name, each in questions.items() for question in each]


def _sent(nodes: Mapping[str, AgentNode], questions: Sequence[Asked]) -> list[tuple[Channel, int]]:
    """Send them, those of a channel at once: what to wait for, in their order."""
    places: dict[Channel, list[int]] = {}
    for place, (name, *_) in enumerate(questions):
        places.setdefault(nodes[name].channel, []).append(place)
    found: dict[int, tuple[Channel, int]] = {}
    for channel, mine in places.items():
        numbers = channel.send_all([questions[place] for place in mine])
        found |= {place: (channel, number) for place, number in zip(mine, numbers, strict=True)}
    return [found[place] for place in range(len(questions))]


def until(condition: Callable[[], bool], what: str, deadline: float, channels: Mapping[str, AgentNode]) -> None:
    """Take in what the agents say until the condition holds; InVain naming `what` after `deadline` seconds."""
    began = time.monotonic()
    heard = {node.channel for node in channels.values()}
    while not condition():
        waited = time.monotonic() - began
        if waited >= deadline:
            raise InVain(f"waited {deadline:g} s in vain: {what}")
        readable([channel.reader for channel in heard], POLL + waited / RARER)
        for channel in heard:
            channel.pump(0)
