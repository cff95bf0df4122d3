"""Operation `passthrough`: run a program of the user's on the user's own terminal, for `connect-chaos exec`.

Standard input, output and error are the agent's, which are those of the host's process: nothing is read, kept or
changed on the way. Otherwise as `attempt`: no proxies in the environment, and nothing of it survives.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chaos.agent import descendants, kernel
from chaos.agent.attempt import environment, unstartable

if TYPE_CHECKING:
    from chaos.agent.serve import Agent


def run(agent: Agent, *, job: dict[str, Any]) -> int:
    """Run it in a forked child and return its number; its one event is what `passthrough` returns."""
    return agent.fork(lambda pipe: pipe.write(passthrough(job)))


def passthrough(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run the program of the job to its end, however long that takes.

    job: `argv`, `directory` (ignored where there is none).
    Returns {"exit", "signal", "started_ns", "returned_ns"}, of which exit or signal is None; or
    {"missing": argv[0], "errno": name} when it could not start. To be called in a process of its own.
    """
    bystanders = descendants.adopt()
    directory = job.get("directory")
    started_ns = time.time_ns()
    try:
        process = subprocess.Popen(
            job["argv"],
            env=environment(os.environ),
            cwd=directory if directory and os.path.isdir(directory) else None,
            preexec_fn=kernel.die_with_parent,  # noqa: PLW1509 (the caller is a forked child of one thread)
        )
    except OSError as error:
        return unstartable(job["argv"][0], error)
    try:
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
