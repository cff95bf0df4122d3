"""What a library's user would catch: call one Python function and report what it surfaced.

A program of its own for any Python >= 3.8, standard library only, so that it also runs in a user's container:

    python -c "$(cat surface.py)" FD JOB

JOB is JSON: `function` ("pkg.mod:name") or `code` (text that defines `call(target)`), `host`, `port`, `url`, `timeout`
(seconds or null) and `path` (folders to import from, first). The function gets one argument, a Target. One JSON object
is written to the descriptor FD; standard output and error belong to the client:

    {"error", "phase", "code", "chain": [{"type", "message", "errno"}, ...], "started_ns", "returned_ns"}
    {"unloadable": TEXT, "module": NAME or null}        the function could not even be imported

`error` is an errno name, an EAI_ name, `timeout` (the client's own clock: no errno), `eof`, `ok`, `no-verdict` (it
returned None or False) or null (it raised something that names none of these). Times are CLOCK_REALTIME.

An errno is often not on the exception that a library raises: causes, contexts (even suppressed ones), `.reason`,
`.exceptions` and exceptions inside `.args` are all walked, and the innermost one with an errno of a socket wins.
Not every `.errno` is an errno: MySQL's drivers say 2003, ssl.SSLError counts in numbers of OpenSSL's.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # `-c` puts the current directory first: a json.py in it is no concern of ours
    sys.path[:] = [entry for entry in sys.path if entry]

import contextlib
import errno
import importlib
import json
import os
import socket
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

LONGEST_CHAIN = 32
LONGEST_TEXT = 2000
EAI = {number: name for name, number in vars(socket).items() if name.startswith("EAI_")}
TIMEOUTS = ("Timeout", "TimeoutError", "TimeoutException")
EOFS = ("RemoteDisconnected", "IncompleteRead", "ServerDisconnectedError")
PHASES = {
    "gaierror": "resolve", "NameResolutionError": "resolve",
    "ConnectError": "connect", "ConnectTimeout": "connect", "ConnectTimeoutError": "connect",
    "NewConnectionError": "connect", "ClientConnectorError": "connect",
    "WriteError": "send", "WriteTimeout": "send",
    "ReadError": "receive", "ReadTimeout": "receive", "ReadTimeoutError": "receive",
    "RemoteDisconnected": "receive", "IncompleteRead": "receive", "ServerDisconnectedError": "receive",
}  # fmt: skip

# How much an error says about the connection; among equals the innermost wins.
INCIDENTAL, NO_ERRNO, ERRNO = 1, 2, 3


class Target:
    """What the client dials; as text `host:port`. `timeout` is the client's own in seconds, or None."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.host, self.port, self.url, self.timeout = job["host"], job["port"], job["url"], job["timeout"]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def walk(error: BaseException) -> Iterator[tuple[int, BaseException]]:
    """The error and all that it was caused by, outermost first, each once, with its depth."""
    seen, level, depth = {id(error)}, [error], 0
    while level:
        below: list[BaseException] = []
        for each in level:
            yield depth, each
            for cause in causes(each):
                if id(cause) not in seen and len(seen) < LONGEST_CHAIN:
                    seen.add(id(cause))
                    below.append(cause)
        level, depth = below, depth + 1


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that one exception holds directly."""
    held = [error.__cause__, error.__context__, attribute(error, "reason"), attribute(error, "exceptions")]
    for value in [*held, *error.args]:
        several = tuple(value.values()) if isinstance(value, dict) else value
        for each in several if isinstance(several, (list, tuple)) else (several,):
            if isinstance(each, BaseException):
                yield each


def attribute(error: BaseException, name: str) -> Any:
    """An attribute of somebody else's exception; None when it is absent or a property that raises."""
    try:
        return getattr(error, name, None)
    except Exception:
        return None


def errno_name(error: BaseException) -> str | None:
    """The errno or EAI_ name of an OSError that really has one, else None."""
    if not isinstance(error, OSError) or type(error.errno) is not int:
        return None
    if isinstance(error, socket.gaierror):
        return EAI.get(error.errno)
    return None if isa(error, "SSLError") else errno.errorcode.get(error.errno)


def isa(error: BaseException, *names: str) -> bool:
    """Whether the exception's class or a base of it has one of these names."""
    return any(base.__name__ in names for base in type(error).__mro__)


def classify(error: BaseException) -> tuple[int, str | None]:
    """How much this one exception says, and what: (ERRNO, "ECONNREFUSED"), (NO_ERRNO, "timeout"), (0, None)."""
    name = errno_name(error)
    if name is not None:
        # A cache file that is not there, or the EINPROGRESS of a non-blocking connect, is not how the connect ended.
        incidental = isinstance(error, (BlockingIOError, InterruptedError)) or attribute(error, "filename") is not None
        return (INCIDENTAL if incidental else ERRNO), name
    if isinstance(error, EOFError) or isa(error, "SSLEOFError", "SSLZeroReturnError", *EOFS):
        return NO_ERRNO, "eof"
    if isa(error, "RemoteProtocolError") and ("disconnected" in text(error) or "closed connection" in text(error)):
        return NO_ERRNO, "eof"
    if isinstance(error, socket.timeout) or any(base.__name__.endswith(TIMEOUTS) for base in type(error).__mro__):
        return NO_ERRNO, "timeout"
    return 0, None


def type_name(cls: type) -> str:
    """The class as the user imports it: builtins bare, and a private module's class by the package that exports it."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    parts = cls.__module__.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        public = not any(part.startswith("_") for part in parts[:end])
        if public and (end == len(parts) or getattr(sys.modules.get(module), cls.__name__, None) is cls):
            return f"{module}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def text(error: BaseException) -> str:
    """The exception's message, of bearable length."""
    try:
        return str(error)[:LONGEST_TEXT]
    except Exception as broken:
        return f"(its message raises {type(broken).__name__})"


def code_of(error: BaseException) -> str | None:
    """The library's own code, which is no errno: `.code`, `.sqlstate`, MySQL's 2003."""
    first = error.args[0] if len(error.args) > 1 and type(error.args[0]) is int else None
    number = attribute(error, "errno") if errno_name(error) is None else None
    of_os = isinstance(error, OSError)
    for value in (attribute(error, "code"), attribute(error, "sqlstate"), number, None if of_os else first):
        if isinstance(value, (int, str)) and not isinstance(value, bool) and value != "":
            return str(value)[:LONGEST_TEXT]
    return None


def raised(error: BaseException) -> dict[str, Any]:
    """The report of a function that raised, or returned, an exception."""
    best: tuple[int, int, str | None] = (0, 0, None)
    phase, chain = None, []
    for depth, each in walk(error):
        rank, name = classify(each)
        if name is not None and (rank, depth) >= best[:2]:
            best = (rank, depth, name)
        phase = PHASES.get(type(each).__name__, phase)
        chain.append({"type": type_name(type(each)), "message": text(each), "errno": errno_name(each)})
    name = best[2]
    if name is None and isinstance(error, SystemExit) and error.code in (None, 0):
        name = "no-verdict"
    return {"error": name, "phase": phase, "code": code_of(error), "chain": chain}


def returned(value: Any) -> dict[str, Any]:
    """The report of a function that returned; one that says nothing has not said that it worked."""
    if isinstance(value, BaseException):
        return raised(value)
    said = value is not None and value is not False
    code = str(value) if isinstance(value, int) and not isinstance(value, bool) else None
    return {"error": "ok" if said else "no-verdict", "phase": None, "code": code, "chain": []}


def load(job: dict[str, Any]) -> Callable[[Target], Any]:
    """The function to call. Raises whatever importing it raises."""
    if job.get("code") is not None:
        module = types.ModuleType("client")
        exec(compile(job["code"], "<client>", "exec"), vars(module))  # noqa: S102 (the adapter's own text)
        return module.call  # type: ignore[no-any-return]
    name, _, path = job["function"].partition(":")
    found: Any = importlib.import_module(name)
    for part in path.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def perform(call: Callable[[Target], Any], target: Target) -> dict[str, Any]:
    """Call the function once (a coroutine is run to its end) and report what came of it."""
    started_ns = time.time_ns()
    try:
        result = call(target)
        if hasattr(result, "__await__"):
            result = complete(result)
    except BaseException as error:
        result = error
    returned_ns = time.time_ns()
    return dict(returned(result), started_ns=started_ns, returned_ns=returned_ns)


def complete(awaitable: Any) -> Any:
    """Run what an `async def` function returned."""
    import asyncio

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def surface(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job; every way it can end is a report."""
    sys.path[:0] = job.get("path", ())
    try:
        call = load(job)
    except BaseException as error:
        module = error.name if isinstance(error, ModuleNotFoundError) else None
        return {"unloadable": f"{type_name(type(error))}: {text(error)}", "module": module}
    return perform(call, Target(job))


def main(fd: int, job: str) -> None:
    """Report, and end at once: a thread that the client left behind must not look like a hang."""
    os.set_inheritable(fd, False)
    sys.argv[1:] = []
    data = json.dumps(surface(json.loads(job))).encode()
    while data:
        data = data[os.write(fd, data) :]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
