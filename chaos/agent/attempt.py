"""Operation `attempt`: run one unmodified program as the client, and let nothing of it survive.

The program runs in a session of its own, with no standard input, without proxies in its environment and with
messages in English. At the deadline it is killed; in every case its descendants are (see descendants.py).

A job of a Python client carries `surface`: the job of surface.py, which then runs in a fork of an interpreter that has
the client's library loaded (forkserver.py), and has forgotten all that is ours.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from chaos.agent import descendants, kernel, surface

if TYPE_CHECKING:
    from chaos.agent.serve import Agent, Pipe

FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""From which `chaos` is imported; a forkserver has it last in its path."""
KEPT = 64 << 10
LONGEST_REPORT = 1 << 20
REPORT = 3  # the client's descriptor for it
FDS = 1 << 12
PIPE_FULL = 64  # reads that empty a pipe that nobody writes to any more


def run(agent: Agent, *, job: dict[str, Any], libraries: list[str] | None = None) -> int:
    """Make the attempt in a child and return its number; its one event is what `attempt` returns.

    libraries: of a Python client, those that it has loaded already when it begins.
    """
    if libraries is not None:
        return agent.fork_loaded("attempt", libraries, job=job)
    return agent.fork(lambda pipe: pipe.write(attempt(job)))


def child(pipe: Pipe, job: dict[str, Any]) -> None:
    """Make it in this process, which has the client's libraries; ends without a word when the agent has hung up."""
    pipe.write(attempt(job, pipe.reader))


class Kept:
    """The beginning and the end of a stream: of more than `limit` bytes, the middle is left out and said to be."""

    def __init__(self, limit: int = KEPT) -> None:
        self._half = limit // 2
        self._head, self._tail, self._left_out = b"", b"", 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        excess = max(0, len(self._tail) - self._half)
        self._tail, self._left_out = self._tail[excess:], self._left_out + excess

    def text(self) -> str:
        gap = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
        return (self._head + gap + self._tail).decode(errors="replace")


class Process(Protocol):
    """A client's process, as subprocess has one."""

    pid: int

    def kill(self) -> None: ...
    def wait(self) -> int: ...


def attempt(job: Mapping[str, Any], agent: int | None = None) -> dict[str, Any]:
    """Run the program of the job to its end or its deadline.

    job: `argv`, `deadline` (seconds), `directory` (ignored where there is none), and for a Python client `surface`,
    the job of surface.py. agent: a descriptor that can be read when nobody waits for the result any more.
    Returns {"exit", "signal", "stdout", "stderr", "hung", "started_ns", "returned_ns", "report"}: exit or signal is
    None, `report` is what surface.py wrote or None; or {"missing": argv[0], "errno": name} when it could not start.
    To be called in a process of its own: it makes its caller a subreaper. What else the caller forked is left alone.
    """
    bystanders = descendants.adopt()
    streams, ends = zip(*(os.pipe() for _ in ("stdout", "stderr", "report")), strict=True)
    started_ns = time.time_ns()
    try:
        process: Process = Copy(job, ends) if "surface" in job else _start(job, ends)
    except OSError as error:
        for fd in streams:
            os.close(fd)
        return unstartable(job["argv"][0], error)
    finally:
        for fd in ends:
            os.close(fd)
    hung, returned_ns, (stdout, stderr, report) = _follow(process, streams, job["deadline"], bystanders, agent)
    status = process.wait()
    return {
        "exit": status if status >= 0 else None,
        "signal": -status if status < 0 else None,
        "stdout": stdout,
        "stderr": stderr,
        "hung": hung,
        "report": _parsed(report),
        **_times(_parsed(report), started_ns, returned_ns),
    }


def unstartable(program: str, error: OSError) -> dict[str, Any]:
    """The result for a program that could not be started: {"missing": program, "errno": name}.

    execvp(3) says EACCES of a program that is nowhere when a folder of PATH may not be searched: that is ENOENT here.
    """
    name = errno.errorcode.get(error.errno or 0)
    anywhere = "/" in program or any(os.access(f"{folder}/{program}", os.X_OK) for folder in os.get_exec_path())
    return {"missing": program, "errno": "ENOENT" if name == "EACCES" and not anywhere else name}


def _follow(
    process: Process, fds: Sequence[int], deadline: float, bystanders: frozenset[int], agent: int | None
) -> tuple[bool, int, list[str]]:
    """Whether the program hung, when it ended, and what it wrote; nothing of it is left."""
    streams = dict(zip(fds, (Kept(), Kept(), Kept(LONGEST_REPORT)), strict=True))
    try:
        hung = _watch(process, streams, deadline, agent)
        returned_ns = time.time_ns()
    finally:
        process.kill()  # does nothing to one that has been waited for
        process.wait()
        descendants.end(bystanders)
        for fd, kept in streams.items():
            _empty(fd, kept)
            os.close(fd)
    return hung, returned_ns, [kept.text() for kept in streams.values()]


def _start(job: Mapping[str, Any], ends: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        job["argv"],
        stdin=subprocess.DEVNULL,
        stdout=ends[0],
        stderr=ends[1],
        env=environment(os.environ),
        cwd=_directory(job),
        start_new_session=True,
        preexec_fn=kernel.die_with_parent,  # noqa: PLW1509 (the caller is a forked child of one thread)
    )


def _directory(job: Mapping[str, Any]) -> str | None:
    directory: str | None = job.get("directory")
    return directory if directory and os.path.isdir(directory) else None


class Copy:
    """A fork of this interpreter that is the client: surface.py, with what is loaded here, and nothing of ours."""

    def __init__(self, job: Mapping[str, Any], ends: Sequence[int]) -> None:
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be_client(job, ends)

    def kill(self) -> None:
        """SIGKILL, unless it has been waited for."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status, or that of a signal below 0."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def _be_client(self, job: Mapping[str, Any], ends: Sequence[int]) -> NoReturn:
        try:
            kernel.die_with_parent()
            kernel.name_process(os.path.basename(sys.executable))
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            for number, fd in enumerate((null, *ends)):
                os.dup2(fd, number, inheritable=number < REPORT)
            os.closerange(REPORT + 1, FDS)
            if (directory := _directory(job)) is not None:
                os.chdir(directory)
            forget_ours()
            surface.main(REPORT, json.dumps(job["surface"]))
        finally:
            os._exit(1)


def forget_ours() -> None:
    """Have this interpreter be the one that it would be without us: what it imports from now on is the user's."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "chaos"]:
        del sys.modules[name]
    sys.path.reverse()
    sys.path.remove(FOLDER)
    sys.path[:] = filter(None, reversed(sys.path))
    sys.argv[:] = ["-c"]


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """A client's environment: no proxy variable of any spelling, and messages in English, not only for strerror(3)."""
    clean = {name: value for name, value in base.items() if not name.lower().endswith("_proxy")}
    everything = clean.pop("LC_ALL", None)
    if everything is not None:
        clean |= {"LANG": everything, "LC_CTYPE": everything}
    clean.pop("LANGUAGE", None)
    return clean | {"LC_MESSAGES": "C"}


def _watch(process: Process, streams: Mapping[int, Kept], deadline: float, agent: int | None) -> bool:
    """Read what the program says until it ends (False) or its deadline passes (True), or nobody wants to know."""
    end = time.monotonic() + deadline
    ended = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        if agent is not None:
            selector.register(agent, selectors.EVENT_READ)
        for fd in streams:
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ)
        try:
            while time.monotonic() < end:
                ready = [key.fd for key, _ in selector.select(max(0.0, end - time.monotonic()))]
                if ended in ready or agent in ready:
                    return False
                for fd in ready:
                    if not _read(fd, streams[fd]):
                        selector.unregister(fd)
        finally:
            os.close(ended)
    return True


def _read(fd: int, kept: Kept) -> bool:
    """Take what is there; False when there is nothing, or never will be."""
    try:
        data = os.read(fd, KEPT)
    except BlockingIOError:
        return False
    kept.add(data)
    return bool(data)


def _empty(fd: int, kept: Kept) -> None:
    for _ in range(PIPE_FULL):
        if not _read(fd, kept):
            return


def _parsed(report: str) -> dict[str, Any] | None:
    try:
        found = json.loads(report)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _times(report: dict[str, Any] | None, started_ns: int, returned_ns: int) -> dict[str, int]:
    """The function's own times where it told them: an interpreter's start is no part of a connect."""
    times = {"started_ns": started_ns, "returned_ns": returned_ns}
    return times | {name: report[name] for name in times if report and name in report}
