"""Operation `attempt`: run one unmodified program as the client, and let nothing of it survive.

The program runs in a session of its own, with no standard input, without proxies in its environment and with
messages in English. At the deadline it is killed; in every case its descendants are (see descendants.py).

A job of a Python client carries `surface`: the program text of surface.py and its job; `argv` is then the interpreter.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chaos.agent import descendants, kernel

if TYPE_CHECKING:
    from chaos.agent.serve import Agent

KEPT = 64 << 10
LONGEST_REPORT = 1 << 20
PIPE_FULL = 64  # reads that empty a pipe that nobody writes to any more


def run(agent: Agent, *, job: dict[str, Any]) -> int:
    """Make the attempt in a forked child and return its number; its one event is what `attempt` returns."""
    return agent.fork(lambda pipe: pipe.write(attempt(job)))


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


def attempt(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run the program of the job to its end or its deadline.

    job: `argv`, `deadline` (seconds), `directory` (ignored where there is none), and for a Python client `surface`:
    {"program": text, "job": {...}}.
    Returns {"exit", "signal", "stdout", "stderr", "hung", "started_ns", "returned_ns", "report"}: exit or signal is
    None, `report` is what surface.py wrote or None; or {"missing": argv[0], "errno": name} when it could not start.
    To be called in a process of its own: it makes its caller a subreaper. What else the caller forked is left alone.
    """
    bystanders = descendants.adopt()
    reader, writer = os.pipe()
    started_ns = time.time_ns()
    try:
        process = _start(job, writer)
    except OSError as error:
        os.close(reader)
        return unstartable(job["argv"][0], error)
    finally:
        os.close(writer)
    hung, returned_ns, (stdout, stderr, report) = _follow(process, reader, job["deadline"], bystanders)
    status = process.returncode
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
    process: subprocess.Popen[bytes], reader: int, deadline: float, bystanders: frozenset[int]
) -> tuple[bool, int, list[str]]:
    """Whether the program hung, when it ended, and what it wrote; nothing of it is left."""
    assert process.stdout is not None
    assert process.stderr is not None
    streams = {process.stdout.fileno(): Kept(), process.stderr.fileno(): Kept(), reader: Kept(LONGEST_REPORT)}
    try:
        hung = _watch(process, streams, deadline)
        returned_ns = time.time_ns()
    finally:
        process.kill()  # does nothing to one that has been waited for
        process.wait()
        descendants.end(bystanders)
        for fd, kept in streams.items():
            _empty(fd, kept)
        process.stdout.close()
        process.stderr.close()
        os.close(reader)
    return hung, returned_ns, [kept.text() for kept in streams.values()]


def _start(job: Mapping[str, Any], report: int) -> subprocess.Popen[bytes]:
    argv, surface = list(job["argv"]), job.get("surface")
    if surface is not None:
        argv += ["-c", surface["program"], str(report), json.dumps(surface["job"])]
    directory = job.get("directory")
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment(os.environ),
        cwd=directory if directory and os.path.isdir(directory) else None,
        pass_fds=() if surface is None else (report,),
        start_new_session=True,
        preexec_fn=kernel.die_with_parent,  # noqa: PLW1509 (the caller is a forked child of one thread)
    )


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """A client's environment: no proxy variable of any spelling, and messages in English, not only for strerror(3)."""
    clean = {name: value for name, value in base.items() if not name.lower().endswith("_proxy")}
    everything = clean.pop("LC_ALL", None)
    if everything is not None:
        clean |= {"LANG": everything, "LC_CTYPE": everything}
    clean.pop("LANGUAGE", None)
    return clean | {"LC_MESSAGES": "C"}


def _watch(process: subprocess.Popen[bytes], streams: Mapping[int, Kept], deadline: float) -> bool:
    """Read what the program says until it ends (False) or its deadline passes (True)."""
    end = time.monotonic() + deadline
    ended = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        for fd in streams:
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ)
        try:
            while time.monotonic() < end:
                ready = [key.fd for key, _ in selector.select(max(0.0, end - time.monotonic()))]
                if ended in ready:
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
