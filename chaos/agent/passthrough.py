"""Operation `passthrough`: run a program of the user's on the user's own terminal, for `exec` and `shell`.

Standard input, output and error are the three descriptors that came with the request; without them they are the
agent's, which are those of the host's process. Nothing is read, kept or changed on the way. Otherwise as `attempt`: no
proxies in the environment, and nothing of it survives.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chaos.agent import descendants, kernel
from chaos.agent.attempt import environment, unstartable

if TYPE_CHECKING:
    from chaos.agent.serve import Agent


def run(agent: Agent, *, job: dict[str, Any]) -> int:
    """Run it in a forked child and return its number; its one event is what `passthrough` returns.

    Told anything, it ends the program.
    """
    streams = agent.handed_over()
    try:
        return agent.fork(lambda pipe: pipe.write(passthrough(job, pipe.reader, streams)))
    finally:
        for fd in streams:
            os.close(fd)


def passthrough(job: Mapping[str, Any], stop: int, streams: Sequence[int] = ()) -> dict[str, Any]:
    """Run the program of the job to its end, however long that takes, or until `stop` can be read.

    job: `argv`; `directory` (ignored where there is none); `environment` (else ours); `terminal`: standard input is a
    terminal that becomes the controlling one of the program's own session (credentials(7)).
    Returns {"exit", "signal", "started_ns", "returned_ns"}, of which exit or signal is None; or
    {"missing": argv[0], "errno": name} when it could not start. To be called in a process of its own.
    """
    bystanders = descendants.adopt()
    started_ns = time.time_ns()
    try:
        process = _start(job, streams)
    except OSError as error:
        return unstartable(job["argv"][0], error)
    finally:
        for fd in streams:
            os.close(fd)  # so that a terminal's other end sees the program's end
    ended = os.pidfd_open(process.pid)
    try:
        if ended not in select.select([ended, stop], [], [])[0]:
            process.kill()
        status = process.wait()
        returned_ns = time.time_ns()
    finally:
        descendants.end(bystanders)
    return {
        "exit": status if status >= 0 else None,
        "signal": -status if status < 0 else None,
        "started_ns": started_ns,
        "returned_ns": returned_ns,
    }


def _start(job: Mapping[str, Any], streams: Sequence[int]) -> subprocess.Popen[bytes]:
    directory, terminal = job.get("directory"), bool(job.get("terminal"))

    def prepare() -> None:
        kernel.die_with_parent()
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    stdin, stdout, stderr = streams or (None, None, None)
    base = job.get("environment", os.environ)
    return subprocess.Popen(
        job["argv"],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(base),
        cwd=directory if directory and os.path.isdir(directory) else None,
        start_new_session=terminal,
        preexec_fn=prepare,  # noqa: PLW1509 (the caller is a forked child of one thread)
    )
