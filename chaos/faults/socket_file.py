"""`socket-file {at, state}`: what is wrong with the path of a UNIX socket (unix(7), connect(2))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import NodeName
from chaos.model import Lab, Listener, Setting

State = Literal["missing", "stale", "forbidden", "other-type", "full"]
BACKLOG = 1
SAYS: Mapping[State, tuple[str, str]] = {
    "missing": ("ENOENT", "there is no such file"),
    "stale": ("ECONNREFUSED", "the file is there, and the process that made it is not"),
    "forbidden": ("EACCES", "nobody without privileges may write to the file"),
    "other-type": ("EPROTOTYPE", "who listens has a socket of another type"),
    "full": ("EAGAIN", f"{BACKLOG + 1} connections wait to be accepted, and there is no room for more"),
}


@dataclass(frozen=True)
class SocketFile(OfOurListener):
    """The path of a UNIX socket is missing, stale, forbidden, of another type, or its queue is full.

    Wire: nothing; UNIX sockets are this host's own affair.
    By hand: `rm`, `kill` and leave the file, `chmod 0`, `nc -lUu` for `nc -lU`, connect backlog + 1 times
    Linux: ENOENT, ECONNREFUSED, EACCES, EPROTOTYPE; EAGAIN when connect() does not wait, else it waits.
    Imitates: a daemon that is not started, that crashed, that runs as somebody else, or that is overloaded.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    sockets: ClassVar[tuple[str, ...]] = ("local",)

    at: NodeName
    state: State

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """Only a stream has a queue of connections."""
        yield from super().check(setting, expect)
        if self.state == "full" and setting.type != "stream":
            yield "state", "only a stream socket has a queue of connections: say `type: stream`"

    def effect(self, setting: Setting) -> Effect:
        """What connect(2) says of it."""
        error, says = SAYS[self.state]
        return Effect(f"{setting.pathname} at {self.at}: {says}", self.at, errno=error)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, path = lab.nodes[self.at], lab.setting.pathname
        changes: Mapping[str, Mapping[str, Any]] = {"missing": {"unlink": True}, "forbidden": {"mode": 0}}
        with self._listening(lab):
            found: Mapping[str, Any] | None = node.call("pathname", path=path, **changes.get(self.state, {}))
            wrong = self._wrong(found, lab.setting)

            def doubt(evidence: Evidence) -> str | None:
                return f"{path} is not {self.state}: {found}" if wrong else None

            yield Touching(lambda: int(self.at == lab.setting.client), doubt)

    def _listening(self, lab: Lab) -> AbstractContextManager[Listener | None]:
        if self.state in ("missing", "stale"):
            return lab.listening(do="absent")
        if self.state == "other-type":
            return lab.listening(do="serve", kind="datagram" if lab.setting.type == "stream" else "stream")
        if self.state == "full":
            return lab.listening(do="never-accept", backlog=BACKLOG, fill=BACKLOG + 1)
        return lab.listening(do="serve")

    def _wrong(self, found: Mapping[str, Any] | None, setting: Setting) -> bool:
        """Whether what was read back is not what it should be."""
        if found is None or self.state == "missing":
            return (found is None) != (self.state == "missing")
        owners = found["owners"]
        doubts: Mapping[str, bool] = {
            "stale": bool(owners),
            "forbidden": found["mode"] != 0,
            "other-type": any((it["type"] == "stream") == (setting.type == "stream") for it in owners),
            "full": not any(it["listening"] and it["accept"] > it["backlog"] for it in owners),
        }
        return doubts[self.state]
