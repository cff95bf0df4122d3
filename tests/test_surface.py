"""What chaos/agent/surface.py makes of exceptions, and that it runs alone on an older Python."""

from __future__ import annotations

import ast
import asyncio
import errno
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import types
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from chaos.agent import surface

PROGRAM = Path(surface.__file__)


def refused() -> OSError:
    """A new one each time: raising an exception changes it."""
    return ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback that is bound, so that nobody else takes it, and on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def raising(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The error as it is when caught, raised `from` the cause."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def while_handling(outer: BaseException, inner: BaseException, *, suppressed: bool = False) -> BaseException:
    """The outer error raised in an `except` for the inner one."""
    try:
        try:
            raise inner
        except BaseException:
            if suppressed:
                raise outer from None
            raise outer  # noqa: B904
    except BaseException as caught:
        return caught


def with_attribute(name: str, value: Any) -> BaseException:
    error = RuntimeError("it failed")
    setattr(error, name, value)
    return error


def looped() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


class Unreadable(Exception):
    """An exception whose message and attributes raise."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    @property
    def reason(self) -> str:
        raise ZeroDivisionError


class ConnectTimeout(Exception):
    """A library's own clock."""


class RemoteProtocolError(Exception):
    """What httpx and httpcore call it."""


def in_progress() -> OSError:
    return BlockingIOError(errno.EINPROGRESS, "Operation now in progress")


def no_file() -> OSError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", "/no/cache")


ERRORS: dict[str, tuple[Callable[[], BaseException], str | None]] = {
    "itself": (refused, "ECONNREFUSED"),
    "cause": (lambda: raising(RuntimeError("x"), refused()), "ECONNREFUSED"),
    "context": (lambda: while_handling(RuntimeError("x"), refused()), "ECONNREFUSED"),
    "suppressed context": (lambda: while_handling(RuntimeError("x"), refused(), suppressed=True), "ECONNREFUSED"),
    "reason": (lambda: urllib.error.URLError(refused()), "ECONNREFUSED"),
    "args": (lambda: RuntimeError("x", refused()), "ECONNREFUSED"),
    "list in args": (lambda: RuntimeError([refused()]), "ECONNREFUSED"),
    "mapping in args": (lambda: RuntimeError("no host", {"10.0.0.1": refused()}), "ECONNREFUSED"),
    "exceptions": (lambda: with_attribute("exceptions", [refused()]), "ECONNREFUSED"),
    "group": (lambda: BaseExceptionGroup("all", [ValueError("x"), refused()]), "ECONNREFUSED"),
    "innermost wins": (lambda: while_handling(OSError(errno.EPIPE, "x"), OSError(errno.ECONNRESET, "x")), "ECONNRESET"),
    "a missing file is incidental": (lambda: while_handling(refused(), no_file()), "ECONNREFUSED"),
    "a connect in progress is incidental": (lambda: while_handling(refused(), in_progress()), "ECONNREFUSED"),
    "a time-out says more than EINPROGRESS": (lambda: while_handling(TimeoutError("late"), in_progress()), "timeout"),
    "nothing but EINPROGRESS": (in_progress, "EINPROGRESS"),
    "the kernel's time-out": (lambda: TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "ETIMEDOUT"),
    "wrapped kernel's time-out": (lambda: raising(ConnectTimeout(), OSError(errno.ETIMEDOUT, "x")), "ETIMEDOUT"),
    "own time-out": (lambda: TimeoutError("timed out"), "timeout"),
    "library's time-out": (lambda: ConnectTimeout("timed out"), "timeout"),
    "resolver": (lambda: socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "EAI_NONAME"),
    "end of file": (lambda: asyncio.IncompleteReadError(b"", 5), "eof"),
    "remote disconnected": (lambda: http.client.RemoteDisconnected("closed"), "eof"),
    "incomplete read": (lambda: http.client.IncompleteRead(b"", 5), "eof"),
    "server disconnected": (lambda: RemoteProtocolError("Server disconnected without a response."), "eof"),
    "protocol error of another kind": (lambda: RemoteProtocolError("illegal status line"), None),
    "TLS cut off": (lambda: ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "eof"),
    "TLS numbers are no errno": (lambda: ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), None),
    "MySQL numbers are no errno": (lambda: with_attribute("errno", 2003), None),
    "errno of no OSError": (lambda: with_attribute("errno", errno.ECONNREFUSED), None),
    "OSError of an unknown number": (lambda: OSError(2003, "Can't connect"), None),
    "OSError without number": (lambda: ConnectionRefusedError("refused"), None),
    "cycle": (looped, None),
    "unreadable": (lambda: raising(Unreadable(), refused()), "ECONNREFUSED"),
    "sys.exit": (lambda: SystemExit(1), None),
    "sys.exit that says nothing": (lambda: SystemExit(0), "no-verdict"),
    "sys.exit after an error": (lambda: while_handling(SystemExit(0), refused()), "ECONNREFUSED"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_is_found(name: str) -> None:
    make, expected = ERRORS[name]
    assert surface.raised(make())["error"] == expected


def test_the_chain_is_outermost_first_with_real_errnos_only() -> None:
    error = raising(with_attribute("errno", 2003), raising(ConnectTimeout("late"), refused()))
    assert surface.raised(error)["chain"] == [
        {"type": "RuntimeError", "message": "it failed", "errno": None},
        {"type": f"{__name__}.ConnectTimeout", "message": "late", "errno": None},
        {"type": "ConnectionRefusedError", "message": "[Errno 111] Connection refused", "errno": "ECONNREFUSED"},
    ]


def test_a_chain_has_an_end() -> None:
    error: BaseException = refused()
    for number in range(100):
        error = RuntimeError(number, error)
    assert len(surface.raised(error)["chain"]) == surface.LONGEST_CHAIN


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (with_attribute("errno", 2003), "2003"),
        (with_attribute("code", "ECONNREFUSED"), "ECONNREFUSED"),
        (with_attribute("sqlstate", "08001"), "08001"),
        (RuntimeError(2003, "Can't connect"), "2003"),
        (RuntimeError("text", "more"), None),
        (refused(), None),
    ],
)
def test_the_librarys_own_code(error: BaseException, code: str | None) -> None:
    assert surface.raised(error)["code"] == code


def test_types_are_named_as_users_import_them(monkeypatch: pytest.MonkeyPatch) -> None:
    public, private = types.ModuleType("lib.api"), types.ModuleType("lib.api._impl")
    exported = type("Exported", (Exception,), {"__module__": "lib.api._impl"})
    hidden = type("Hidden", (Exception,), {"__module__": "lib.api._impl"})
    public.Exported = exported  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lib.api", public)
    monkeypatch.setitem(sys.modules, "lib.api._impl", private)
    assert surface.type_name(exported) == "lib.api.Exported"
    assert surface.type_name(hidden) == "lib.api._impl.Hidden"
    assert surface.type_name(ConnectionRefusedError) == "ConnectionRefusedError"
    assert surface.type_name(socket.gaierror) == "socket.gaierror"
    assert surface.type_name(requests.exceptions.ConnectionError) == "requests.exceptions.ConnectionError"
    assert surface.type_name(httpx.ConnectError) == "httpx.ConnectError"


@pytest.mark.parametrize(
    ("value", "error", "code"),
    [
        (None, "no-verdict", None),
        (False, "no-verdict", None),
        (True, "ok", None),
        (200, "ok", "200"),
        ("hello", "ok", None),
        (b"", "ok", None),
        (refused(), "ECONNREFUSED", None),
    ],
)
def test_what_is_returned(value: Any, error: str, code: str | None) -> None:
    report = surface.returned(value)
    assert (report["error"], report["code"]) == (error, code)


def job(**given: Any) -> dict[str, Any]:
    return {"host": "localhost", "port": 80, "url": "http://localhost:80/", "timeout": None, **given}


def test_an_async_function_is_run_to_its_end() -> None:
    report = surface.surface(job(code="async def call(target):\n    raise EOFError(str(target))"))
    assert report["error"] == "eof"
    assert report["chain"][0]["message"] == "localhost:80"
    assert 0 < report["started_ns"] <= report["returned_ns"]


def test_a_function_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probes").mkdir()
    text = "class Here:\n    @staticmethod\n    def probe(target): return target.url"
    (tmp_path / "probes" / "of_mine.py").write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    report = surface.surface(job(function="probes.of_mine:Here.probe", path=[str(tmp_path)]))
    assert report["error"] == "ok"


@pytest.mark.parametrize(
    ("given", "text", "module"),
    [
        ({"function": "not_there.at_all:f"}, "ModuleNotFoundError: No module named 'not_there'", "not_there"),
        ({"function": "json:not_there"}, "AttributeError: module 'json' has no attribute 'not_there'", None),
        ({"code": "def call(:"}, "SyntaxError", None),
        ({"code": "raise SystemExit(0)"}, "SystemExit: 0", None),
    ],
)
def test_what_cannot_be_imported_is_no_outcome(given: dict[str, str], text: str, module: str | None) -> None:
    report = surface.surface(job(**given))
    assert report["unloadable"].startswith(text)
    assert report["module"] == module


def run_alone(python: str, text: str, cwd: Path, **given: Any) -> dict[str, Any]:
    """The program started as a node starts it."""
    reader, writer = os.pipe()
    argv = [python, "-c", PROGRAM.read_text(), str(writer), json.dumps(job(code=text, **given))]
    subprocess.run(argv, pass_fds=[writer], cwd=cwd, check=True, timeout=20)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        report: dict[str, Any] = json.load(file)
    return report


DIALS = "import socket\ndef call(target):\n    socket.create_connection((target.host, target.port))"


@pytest.mark.slow("starts an interpreter of each version that this machine has")
def test_it_runs_on_any_python(closed_port: int, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemError('of the current directory')")
    for python in [sys.executable, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(8, 15)))]:
        if subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
            continue  # a version manager's stand-in for one that is not chosen
        report = run_alone(python, DIALS, tmp_path, host="127.0.0.1", port=closed_port)
        assert (report["error"], report["chain"][0]["type"]) == ("ECONNREFUSED", "ConnectionRefusedError"), python


def test_its_syntax_is_python_3_8() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 8))


@pytest.mark.slow("starts an interpreter")
def test_a_thread_left_behind_is_no_hang(tmp_path: Path) -> None:
    text = (
        "import threading\ndef call(target):\n    threading.Thread(target=threading.Event().wait).start()\n    return 1"
    )
    assert run_alone(sys.executable, text, tmp_path)["error"] == "ok"
