"""The user's terminal, lent to a program elsewhere: a pseudo-terminal of its own, relayed byte by byte (pty(7)).

The program gets job control and Ctrl-C as in any terminal; ours is raw meanwhile and is restored in every case. What is
no terminal (a pipe, a file) is handed over as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

CHUNK: Final = 1 << 16
LAST_WORDS: Final = 1.0
"""Seconds within which all that a program wrote has arrived once it has ended."""


@dataclass
class Lent:
    """Standard input, output and error for the program; `master` is our end of its terminal, if it has one."""

    streams: list[int]
    master: int | None = None
    _slaves: list[int] = field(default_factory=list)

    def given(self) -> None:
        """The program has its descriptors: ours of its end go, so that its end can be seen."""
        while self._slaves:
            os.close(self._slaves.pop())

    def relay(self, news: int, finished: Callable[[], bool]) -> None:
        """Return when `finished()`, asked when `news` can be read; pass everything on until then, and what is left."""
        if self.master is None:
            while not _ready({news: select.POLLIN}) or not finished():
                pass
            return
        with _raw(self.master):
            _relay(self.master, news, finished)


@contextmanager
def lend() -> Iterator[Lent]:
    """Our standard streams: by a new pseudo-terminal if input and output are a terminal, else themselves."""
    if not (os.isatty(0) and os.isatty(1)):
        yield Lent([0, 1, 2])
        return
    master, slave = os.openpty()
    lent = Lent([slave, slave, slave if os.isatty(2) else 2], master, [slave])
    try:
        _copy_size(master)
        os.set_blocking(master, False)
        yield lent
    finally:
        lent.given()
        os.close(master)


@contextmanager
def _raw(master: int) -> Iterator[None]:
    """Our terminal raw, and its size followed."""
    before = termios.tcgetattr(0)
    followed = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
    try:
        tty.setraw(0)
        yield
    finally:
        signal.signal(signal.SIGWINCH, followed)
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _copy_size(master: int) -> None:
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def _relay(master: int, news: int, finished: Callable[[], bool]) -> None:
    typed = b""
    while True:
        wanted = {news: select.POLLIN, master: select.POLLIN | (select.POLLOUT if typed else 0)}
        ready = _ready(wanted if typed else wanted | {0: select.POLLIN})
        if 0 in ready:
            typed = os.read(0, CHUNK)
            if not typed:
                raise KeyboardInterrupt  # our terminal has gone
        if ready.get(master, 0) & select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                typed = typed[os.write(master, typed) :]
        if ready.get(master, 0) & ~select.POLLOUT and not _pass_on(master):
            ready = _ready({news: select.POLLIN})  # the program has closed its terminal: only its status is left
            typed = b""
        if news in ready and finished():
            while _ready({master: select.POLLIN}, LAST_WORDS) and _pass_on(master):
                pass
            return


def _pass_on(master: int) -> bool:
    """What the program wrote; False when nobody has its terminal open any more (EIO)."""
    try:
        data = os.read(master, CHUNK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
    return bool(data)


def _ready(wanted: dict[int, int], timeout: float | None = None) -> dict[int, int]:
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll(None if timeout is None else timeout * 1000))
