"""A Python that has libraries loaded and forks children of agents: an import costs many times what a connect does.

It is started and asked by chaos/agent/loaded.py, and knows no lab. A child is forked into the namespaces that come with
the request, in two steps, so that in the end its parent is the init of the pid namespace, or the agent as a subreaper,
as if that had forked it. Its first word is its pid.

    agent -> forkserver   {"operation": NAME, "arguments": {...}, "hostname": NAME or null, "processors": [...]}: one
                          message, with descriptors (SCM_RIGHTS): the socket of the child, then namespaces, pids first
    child -> agent        {"pid": N}, then what `child(pipe, **arguments)` of the operation's module writes

What a library does while it is loaded happens once, in a network namespace with a loopback device and nothing else
(urllib3 binds ::1 to see whether there is IPv6). One that is missing, or fails, is left for the child to meet.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from chaos.agent import kernel
from chaos.agent.serve import Pipe, describe, live

LONGEST, DESCRIPTORS = 1 << 17, 8
ANY = 0
"""setns(2): whatever kind of namespace it is."""
MOMENT = 0.0002


def main() -> NoReturn:
    """Load the libraries, and fork until nobody holds the other end any more."""
    fd, *libraries = sys.argv[1:]
    control = socket.socket(fileno=int(fd))
    control.set_inheritable(False)
    kernel.die_with_parent()
    kernel.name_process("forkserver")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's to act upon
    with _unheard():
        for name in libraries:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would copy the pages of all that is loaded
    ours = (os.open("/proc/self/ns/pid_for_children", os.O_RDONLY), control.fileno())
    while True:
        message, fds = kernel.receive(control, LONGEST, DESCRIPTORS)
        if not message:
            os._exit(0)
        _fork(json.loads(message), fds, ours)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """What a library says while it is loaded is no client's, and nobody at a terminal asked for it."""
    error, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(nowhere, fd)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(error, 2)
        os.close(error)
        os.close(nowhere)


def _fork(request: Mapping[str, Any], fds: Sequence[int], ours: tuple[int, ...]) -> None:
    """Fork twice. The first child is in between for as long as it takes to fork: whose parent ends gets the init of
    that parent's pid namespace for one, and ours is not the child's.
    """
    sock, *namespaces = fds
    try:
        if namespaces:
            kernel.setns(namespaces[0], kernel.CLONE_NEWPID)  # concerns our children alone
        between = os.fork()
        if between == 0:
            for fd in ours:
                os.close(fd)
            _be_between(request, sock, namespaces)
    finally:
        if namespaces:
            kernel.setns(ours[0], kernel.CLONE_NEWPID)
        for fd in fds:
            os.close(fd)
    os.waitpid(between, 0)


def _be_between(request: Mapping[str, Any], sock: int, namespaces: Sequence[int]) -> NoReturn:
    pipe, mine = Pipe(socket.socket(fileno=sock)), os.getpid()
    try:
        for fd in namespaces[1:]:
            kernel.setns(fd, ANY)
        for fd in namespaces:
            os.close(fd)
        if os.fork() == 0:
            _be_child(request, pipe, mine)
    except OSError as error:
        pipe.write({"error": describe(error)})
    finally:
        os._exit(0)


def _be_child(request: Mapping[str, Any], pipe: Pipe, between: int) -> NoReturn:
    status = 1
    try:
        os.sched_setaffinity(0, request["processors"])
        if request["hostname"] is not None:
            kernel.own_hostname(request["hostname"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        kernel.name_process(request["operation"])
        operation = importlib.import_module(f"chaos.agent.{request['operation']}")
        while os.getppid() == between:
            select.select([], [], [], MOMENT)
        pipe.write({"pid": os.getpid()})
        status = live(lambda pipe: operation.child(pipe, **request["arguments"]), pipe)
    finally:
        os._exit(status)
