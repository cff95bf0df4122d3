"""Small faults and clients with the parameters of the real ones, for tests of the language alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from chaos.fields import After, Argv, Backlog, Duration, Function, NodeName, Port, Segments
from chaos.model import Lab, Outcome, Setting, Speaks


class Inert:
    """Arms nothing."""

    def inject(self, lab: Lab) -> AbstractContextManager[Any]:
        return nullcontext(lab)


@dataclass(frozen=True)
class Drop(Inert):
    """Drop segments on their way in."""

    at: NodeName
    segment: Segments
    port: Port | None = None
    from_: NodeName | None = None
    to: NodeName | None = None


@dataclass(frozen=True)
class ClosedPort(Inert):
    """Nobody listens."""

    at: NodeName


@dataclass(frozen=True)
class LinkDown(Inert):
    """The interface is down."""

    at: NodeName = "server"


@dataclass(frozen=True)
class Forget(Inert):
    """The connection is forgotten; ours alone can."""

    at: NodeName
    after: After

    def check(self, setting: Setting, expect: object) -> Iterator[tuple[str, str]]:
        if setting.listen.node != self.at:
            yield "at", f"`{self.at}` does not listen here"


@dataclass(frozen=True)
class BacklogFull(Inert):
    """The accept queue is full."""

    at: NodeName
    backlog: Backlog = 1


@dataclass(frozen=True)
class Route(Inert):
    """The route is wrong."""

    at: NodeName
    kind: Literal["unreachable", "prohibit", "blackhole", "throw", "missing"]
    to: NodeName | None = None


class Silent:
    """Attempts nothing."""

    def attempt(self, lab: Lab) -> Outcome:
        raise NotImplementedError(lab)


@dataclass(frozen=True)
class Socket(Silent):
    """Python's own."""

    node: NodeName = "client"
    mode: Literal["blocking", "timeout", "nonblocking"] = "blocking"
    timeout: Duration | None = None
    steps: tuple[Any, ...] = ("connect", "send", "recv")


@dataclass(frozen=True)
class Requests(Silent):
    """A library that speaks HTTP."""

    speaks: ClassVar[Speaks] = "http"
    node: NodeName = "client"
    timeout: Duration | None = None


@dataclass(frozen=True)
class Command(Silent):
    """A program."""

    command: Argv
    node: NodeName = "client"


@dataclass(frozen=True)
class Python(Silent):
    """A function."""

    python: Function
    node: NodeName = "client"


FAULTS: dict[str, type] = {
    "drop": Drop,
    "closed-port": ClosedPort,
    "link-down": LinkDown,
    "forget": Forget,
    "backlog-full": BacklogFull,
    "route": Route,
}
CLIENTS: dict[str, type] = {"socket": Socket, "requests": Requests, "command": Command, "python": Python}
