"""Attempts by Python clients in children of a forkserver, as a node's agent has them made."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.agent import loaded
from chaos.agent.attempt import environment

_servers: dict[tuple[str, ...], socket.socket] = {}


def server(libraries: Sequence[str]) -> socket.socket:
    """One for all tests of this process, with which it ends."""
    key = tuple(libraries)
    if key not in _servers:
        _servers[key], theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = loaded.command(sys.executable, theirs.fileno(), libraries)
            process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=environment(os.environ))
        process.returncode = 0  # it is waited for by whoever is left when we have ended
    return _servers[key]


def begin_anew() -> None:
    """End them all; the next ones are of the environment that there is then."""
    while _servers:
        _servers.popitem()[1].close()


def calling(code: str, deadline: float = 10.0) -> dict[str, Any]:
    """The job of an attempt by a Python client with this text."""
    inner = {"code": code, "host": "localhost", "port": 1, "url": "", "timeout": None, "path": []}
    return {"argv": [sys.executable], "deadline": deadline, "surface": inner}


def attempted(job: Mapping[str, Any], libraries: Sequence[str] = ()) -> dict[str, Any]:
    """The result of an attempt, once its process has said which it is."""
    request = {"operation": "attempt", "arguments": {"job": job}, "hostname": None}
    first, *events = said(request | {"processors": [*os.sched_getaffinity(0)]}, libraries)
    assert list(first) == ["pid"]
    (result,) = events
    return dict(result)


def said(request: Mapping[str, Any], libraries: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """All that a child says until its end."""
    ours, theirs = socket.socketpair()
    with theirs:
        loaded.ask(server(libraries), request, [theirs.fileno()])
    with ours, ours.makefile() as lines:
        yield from map(json.loads, lines)
