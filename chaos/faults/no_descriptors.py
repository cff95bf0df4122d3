"""`no-descriptors {at, before?}`: the client has no file descriptor left: EMFILE (socket(2), getrlimit(2))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.fields import NodeName
from chaos.model import Family, Lab, Setting

Call = Literal["resolve", "socket"]
OF_GETADDRINFO: dict[Family, str] = {"ipv4": "EAI_NODATA", "ipv6": "EAI_NONAME"}
"""What glibc 2.36 makes of EMFILE in a process that has looked up a name before (measured)."""


@dataclass(frozen=True)
class NoDescriptors:
    """The `socket` client has no file descriptor left when it looks up the name (`resolve`), or when it calls socket().

    Wire: nothing.
    By hand: `ulimit -n 3` before a program that has three files open already
    Linux: socket() fails with EMFILE. Before that, getaddrinfo() cannot even open /etc/hosts, and blames
        the name: EAI_NODATA, or with IPv6 EAI_NONAME.
    Imitates: a client that leaks connections until RLIMIT_NOFILE.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    before: Call = "socket"

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The server's descriptors are another fault's."""
        if self.at != setting.client:
            yield "at", f"no-descriptors acts on the client, {setting.client!r}; for the server's there is accept-fails"

    def effect(self, setting: Setting) -> Effect:
        """An error before anything is sent."""
        says = f"the process at {self.at} has no file descriptor left"
        if self.before == "resolve":
            error = OF_GETADDRINFO[setting.family]
            return Effect(f"{says} to look up the name with", self.at, errno=error, phase="resolve")
        return Effect(f"{says} when it calls socket()", self.at, errno="EMFILE")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node = lab.nodes[self.at]
        node.call("descriptors", before=self.before)
        try:
            yield Touching(lambda: int(node.call("descriptors", before=self.before)), _sent)
        finally:
            node.call("descriptors", before=None)


def _sent(evidence: Evidence) -> str | None:
    seen = evidence.packets[evidence.client]
    return f"{len(seen)} packets left the client all the same" if seen else None
