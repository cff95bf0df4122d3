"""A program that runs by exec in a container, on descriptors of ours: `exec` and `shell` of the docker backend.

What the operation `passthrough` does in a namespace: standard input, output and error go through unchanged, and nothing
of the program survives its user. Where they are a terminal, the container gives the program one of its own, ours is raw
meanwhile, and its size is followed (ContainerExec, ExecStart and ExecResize of the Engine API).
"""

from __future__ import annotations

import fcntl
import os
import queue
import select
import socket
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from chaos.backends.attached import Demultiplexed, descriptor, halves
from chaos.errors import LabError

if TYPE_CHECKING:
    from docker import APIClient

SHELL: Final = ("sh", "-c", "command -v bash > /dev/null && exec bash; exec sh")
CHUNK: Final = 1 << 16
LOOK: Final = 0.25
"""Seconds between two looks at a terminal's size: nobody tells us of it."""
SOON: Final = 5.0
"""Seconds in which the engine knows how a program has ended."""


def unstarted(program: str, said: str) -> dict[str, Any] | None:
    """What `passthrough` and `attempt` return when the engine says that the program could not be started."""
    if "OCI runtime exec failed" not in said and "unable to start container process" not in said:
        return None
    return {"missing": program, "errno": "EACCES" if "permission denied" in said else "ENOENT"}


class Streamed:
    """The running program (channel.Passed); its one event is its result. `kill` ends all that carries its mark."""

    def __init__(
        self,
        api: APIClient,
        container: str,
        job: Mapping[str, Any],
        environment: Mapping[str, str],
        streams: Sequence[int],
        kill: Callable[[], None],
    ) -> None:
        self._api, self._container, self._kill = api, container, kill
        self._argv = list(SHELL if job.get("shell") else job["argv"])
        self._environment = {**environment, "TERM": os.environ.get("TERM", "dumb")}
        self._streams = [os.dup(fd) for fd in streams]
        self._terminal = all(map(os.isatty, self._streams[:2]))
        self._results: queue.SimpleQueue[dict[str, Any] | LabError] = queue.SimpleQueue()
        self.news = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # -- model.Running

    def next(self, deadline: float) -> Any:
        """Its result, once; None after `deadline` seconds."""
        try:
            result = self._results.get(timeout=deadline)
        except queue.Empty:
            return None
        self._close()
        if isinstance(result, LabError):
            raise result
        return result

    def ready(self) -> bool:
        """Whether it has ended."""
        return not self._results.empty()

    told = ready

    def tell(self, _message: Any) -> None:
        """End it."""
        self.end()

    def end(self) -> None:
        """Kill it, and what it started; nobody asks for its result any more."""
        with suppress(LabError):
            self._kill()
        self._close()

    def _close(self) -> None:
        self._thread.join(SOON)
        os.close(self.news)

    # -- the thread

    def _run(self) -> None:
        from docker.errors import DockerException

        try:
            with _raw(self._streams[0], on=self._terminal):
                result: dict[str, Any] | LabError = self._passed_through()
        except LabError as error:
            result = error
        except (DockerException, OSError) as error:
            said = str(getattr(error, "explanation", None) or error)
            result = unstarted(self._argv[0], said) or LabError(f"exec in the container: {said}")
        for fd in self._streams:
            os.close(fd)
        self._results.put(result)
        os.eventfd_write(self.news, 1)

    def _passed_through(self) -> dict[str, Any]:
        made: str = self._api.exec_create(
            self._container, self._argv, stdin=True, tty=self._terminal, environment=dict(self._environment)
        )["Id"]
        started_ns = time.time_ns()
        stream = self._api.exec_start(made, tty=self._terminal, socket=True)
        closable, line = halves(stream), descriptor(stream)
        over, ours = os.pipe()
        typing = threading.Thread(target=self._type, args=(made, line, closable, over), daemon=True)
        typing.start()
        try:
            refusal = self._print(line)
        finally:
            os.close(ours)
            typing.join()
            os.close(over)
            os.close(line)
        returned_ns = time.time_ns()
        status = self._status(made)
        if status in (126, 127) and refusal is not None:
            return refusal
        return {"exit": status, "signal": None, "started_ns": started_ns, "returned_ns": returned_ns}

    def _print(self, line: int) -> dict[str, Any] | None:
        """Pass on what it prints to the end; the engine's own words instead of a program's are not passed on."""
        demultiplexed, refusal = Demultiplexed(), None
        while data := os.read(line, CHUNK):
            for kind, payload in [(1, data)] if self._terminal else demultiplexed.feed(data):
                refusal = refusal or unstarted(self._argv[0], payload.decode(errors="replace"))
                if refusal is None:
                    _write(self._streams[kind], payload)
        return refusal

    def _type(self, made: str, line: int, closable: bool, over: int) -> None:
        """Pass on our input until its end or the program's, and the size of our terminal."""
        size, wanted = b"", [self._streams[0], over]
        with suppress(OSError):  # the program has ended
            while over not in (ready := select.select(wanted, [], [], LOOK if self._terminal else None)[0]):
                size = self._follow(made, size)
                if self._streams[0] not in ready:
                    continue
                data = os.read(self._streams[0], CHUNK)
                _write(line, data)
                if not data:
                    wanted.remove(self._streams[0])
                    if closable:
                        with socket.socket(fileno=os.dup(line)) as sock:
                            sock.shutdown(socket.SHUT_WR)

    def _follow(self, made: str, known: bytes) -> bytes:
        """Give the program's terminal the size of ours, if it is another one by now."""
        if not self._terminal:
            return known
        size = fcntl.ioctl(self._streams[0], termios.TIOCGWINSZ, bytes(8))
        if size != known:
            rows, columns = struct.unpack("HHHH", size)[:2]
            with suppress(Exception):  # it has just ended, or not yet begun: the next look is soon
                self._api.exec_resize(made, rows or 24, columns or 80)
        return size

    def _status(self, made: str) -> int:
        end = time.monotonic() + SOON
        while (found := self._api.exec_inspect(made))["Running"] and time.monotonic() < end:
            select.select([], [], [], 0.01)
        if found["ExitCode"] is None:
            raise LabError("the engine does not tell how the program has ended")
        return int(found["ExitCode"])


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _raw(fd: int, *, on: bool) -> Iterator[None]:
    """This terminal raw."""
    if not on:
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
