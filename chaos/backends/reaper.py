"""The process that removes a run's containers when its owner cannot: `python -c ... ROOT RUN PIPE PID`.

It waits for the end of a pipe whose other end only the owner holds, and for the owner's own end (pidfd_open(2)), for a
child of the owner may have inherited the pipe. One byte says that all was removed in peace.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

LOOKS = 3
"""Looks that find nothing, one after another, until it is believed: a request may still be under way in the engine."""
PAUSE, LONGEST = 0.4, 30.0


def main() -> None:
    """Wait, and remove."""
    run, reader, owner = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with suppress(PermissionError):  # a session of its own already
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    waited = [reader]
    with suppress(OSError):
        waited.append(os.pidfd_open(owner))
    if reader in select.select(waited, [], [])[0] and os.read(reader, 1):
        return
    reap(run)


def reap(run: str) -> None:
    """Remove what the run has, until nothing more of it appears; an engine that does not answer is asked again."""
    from chaos.errors import LabError

    end, quiet = time.monotonic() + LONGEST, 0
    while quiet < LOOKS and time.monotonic() < end:
        try:
            quiet = 0 if _removed(run) else quiet + 1
        except LabError:  # it died with the owner, or is started anew: what is left then is for `clean`, which says so
            quiet = 0
        select.select([], [], [], PAUSE)


def _removed(run: str) -> int:
    """How much there was of it."""
    from chaos.backends import engine, removal, runs

    api = engine.api()
    try:
        with engine.refusals():
            return removal.remove(api, f"{runs.RUN}={run}")
    finally:
        api.close()


if __name__ == "__main__":
    main()
