"""The one module that starts programs on the host; inside a node `chaos/agent/` does.

Every program is an argument list, never a shell's line. An error carries the arguments, the exit status and stderr.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from chaos.errors import CommandFailed, ToolMissing


def start(argv: Sequence[str], *, pass_fds: Sequence[int] = (), stdin: bool = False) -> subprocess.Popen[bytes]:
    """Start a program that goes on beside us, in the root directory.

    Our standard input is its own if `stdin`; otherwise it is in a process group of its own, where a Ctrl-C, which is
    ours to act upon, does not reach it.
    """
    if stdin:
        return subprocess.Popen(argv, pass_fds=pass_fds, cwd="/")
    return subprocess.Popen(argv, pass_fds=pass_fds, stdin=subprocess.DEVNULL, cwd="/", process_group=0)


def await_end(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Wait until a program that we started has ended; after `timeout` seconds, kill it."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def output(
    argv: Sequence[str],
    *,
    timeout: float = 30.0,
    install: str = "",
    env: Mapping[str, str] | None = None,
    user: int | None = None,
    stdin: str = "",
) -> str:
    """What a program prints. Raises ToolMissing (with the line `install`) or CommandFailed, a time-out included.

    `stdin`: what it reads. `user`: as this user and its group of the same number, which only root may do.
    """
    groups: list[int] | None = None if user is None else []
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            input=stdin,
            env=env,
            user=user,
            group=user,
            extra_groups=groups,
        )
    except FileNotFoundError:
        raise ToolMissing(argv[0], install or f"the package that has `{argv[0]}`") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(argv, -9, f"still running after {timeout:g} s, killed") from None
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr)
    return done.stdout
