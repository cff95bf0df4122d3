"""The clients that are programs and libraries, real ones, against real sockets of loopback."""

from __future__ import annotations

import errno
import os
import select
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from chaos import kinds, model
from chaos.agent import attempt
from chaos.clients._attempt import deadline, filled
from chaos.clients._texts import error_named
from chaos.clients.command import Command
from chaos.clients.httpx import Httpx
from chaos.clients.python import Python
from chaos.clients.requests import Requests
from chaos.errors import LabError, ScenarioError, ToolMissing
from tests.forked import forked
from tests.loaded import attempted, begin_anew

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
CONNECTS = "exec 3<>/dev/tcp/{host}/{port} && echo connected"


@dataclass(frozen=True)
class Running:
    """An attempt in a forked child that ends within `next`."""

    job: Mapping[str, Any]
    libraries: Sequence[str] | None

    def next(self, deadline: float) -> Any:
        assert deadline > self.job["deadline"]
        if self.libraries is not None:
            return attempted(self.job, self.libraries)
        return forked(lambda: attempt.attempt(self.job))

    def end(self) -> None:
        pass


@dataclass(frozen=True)
class Loopback:
    """A node that is this machine; its attempts are ended early when `hurry` says so."""

    hurry: float | None = None

    def start(self, operation: str, /, **arguments: Any) -> Running:
        assert operation == "attempt"
        job = arguments["job"] | ({} if self.hurry is None else {"deadline": self.hurry})
        return Running(job, arguments.get("libraries"))


@dataclass(frozen=True)
class Loopbacks:
    """As much of a lab as these clients use."""

    setting: model.Setting
    nodes: Mapping[str, Loopback]


def lab_of(setting: model.Setting, hurry: float | None = None) -> model.Lab:
    return cast(model.Lab, Loopbacks(setting, {"client": Loopback(hurry)}))


def setting(port: int, host: str = "127.0.0.1", folder: str = ".") -> model.Setting:
    topology = model.Topology("loopback", "compose.yaml", {})
    return model.Setting(topology, target=model.Endpoint(host, port), folder=folder)


@pytest.fixture
def closed() -> Iterator[model.Lab]:
    """A bound port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield lab_of(setting(sock.getsockname()[1]))


@pytest.fixture
def silent() -> Iterator[model.Lab]:
    """A listener that never accepts: the kernel does, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield lab_of(setting(sock.getsockname()[1]))


def answering(sock: socket.socket, stop: int, answer: bytes) -> None:
    """Read a request, answer, close, until `stop` can be read."""
    while stop not in select.select([sock.fileno(), stop], [], [])[0]:
        accepted, _ = sock.accept()
        with accepted:
            select.select([accepted.fileno(), stop], [], [])
            accepted.recv(65536, socket.MSG_DONTWAIT)
            accepted.sendall(answer)


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[model.Lab]:
    """A listener that answers every request with these bytes (none: it closes)."""
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        thread = threading.Thread(target=answering, args=(sock, reader, getattr(request, "param", ANSWER)))
        thread.start()
        yield lab_of(setting(sock.getsockname()[1]))
        os.write(writer, b"stop")
        thread.join()
    os.close(reader)
    os.close(writer)


closing = pytest.mark.parametrize("serving", [b""], indirect=True)
curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt-get install curl")
interpreter = pytest.mark.slow("starts an interpreter and a library")


def bash(script: str) -> Command:
    return Command(("bash", "-c", script))


def test_bash_is_refused(closed: model.Lab) -> None:
    outcome = bash(CONNECTS).attempt(closed)
    assert (outcome.error, outcome.error_from, outcome.exit, outcome.chain) == ("ECONNREFUSED", "text", 1, ())
    assert "Connection refused" in outcome.stderr
    assert 0 < outcome.started_ns < outcome.returned_ns


def test_bash_connects_and_says_so(silent: model.Lab) -> None:
    outcome = bash(CONNECTS).attempt(silent)
    assert (outcome.error, outcome.exit, outcome.stdout) == ("ok", 0, "connected\n")


def test_a_command_that_says_nothing_gives_no_verdict(silent: model.Lab) -> None:
    assert bash("exec 3<>/dev/tcp/{host}/{port}").attempt(silent).error == "no-verdict"


def test_a_failure_that_was_swallowed_is_still_said(closed: model.Lab) -> None:
    outcome = bash("(exec 3<>/dev/tcp/{host}/{port}) || true").attempt(closed)
    assert (outcome.error, outcome.exit) == ("ECONNREFUSED", 0)


def test_a_failure_without_words_is_left_to_the_packets(closed: model.Lab) -> None:
    outcome = bash("(exec 3<>/dev/tcp/{host}/{port}) 2>/dev/null").attempt(closed)
    assert (outcome.error, outcome.exit) == (None, 1)


def test_a_command_that_hangs(silent: model.Lab) -> None:
    client = Command(("bash", "-c", "exec 3<>/dev/tcp/{host}/{port}; cat <&3"))
    outcome = client.attempt(lab_of(silent.setting, hurry=0.1))
    assert (outcome.error, outcome.exit) == ("hang", -9)


def test_a_clock_put_around_a_command(silent: model.Lab) -> None:
    outcome = Command(("timeout", "0.05", "bash", "-c", "exec 3<>/dev/tcp/{host}/{port}; cat <&3")).attempt(silent)
    assert (outcome.error, outcome.exit) == ("timeout", 124)


@curl
def test_curl_that_is_refused_names_no_errno(closed: model.Lab) -> None:
    outcome = Command(("curl", "-sS", "http://{target}/")).attempt(closed)
    assert outcome.exit == 7
    assert outcome.error in {None, "ECONNREFUSED"}


@curl
def test_curl_gives_up_by_its_own_clock(silent: model.Lab) -> None:
    outcome = Command(("curl", "-sS", "--max-time", "0.1", "{url}")).attempt(silent)
    assert (outcome.error, outcome.exit) == ("timeout", 28)


@curl
@closing
def test_curl_meets_the_end_of_the_stream(serving: model.Lab) -> None:
    outcome = Command(("curl", "-sS", "{url}")).attempt(serving)
    assert (outcome.error, outcome.exit) == ("eof", 52)


@curl
def test_curl_is_answered(serving: model.Lab) -> None:
    outcome = Command(("curl", "-sS", "{url}")).attempt(serving)
    assert (outcome.error, outcome.exit, outcome.stdout) == ("ok", 0, "ok")


def test_a_missing_program_is_the_environments_fault(closed: model.Lab) -> None:
    with pytest.raises(ToolMissing, match="no-such-program: not found; install it with: apt-get install no-such-prog"):
        Command(("no-such-program",)).attempt(closed)


def test_a_program_that_cannot_be_started(closed: model.Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be started in node `client`: EACCES"):
        Command((str(tmp_path),)).attempt(closed)


LIBRARIES: dict[str, tuple[Requests | Httpx, dict[str, tuple[str, str, str]]]] = {
    "requests": (
        Requests(timeout=0.2),
        {
            "closed": ("ECONNREFUSED", "requests.exceptions.ConnectionError", "connect"),
            "silent": ("timeout", "requests.exceptions.ReadTimeout", "receive"),
            "closing": ("eof", "requests.exceptions.ConnectionError", "receive"),
        },
    ),
    "httpx": (
        Httpx(timeout=0.2),
        {
            "closed": ("ECONNREFUSED", "httpx.ConnectError", "connect"),
            "silent": ("timeout", "httpx.ReadTimeout", "receive"),
            "closing": ("eof", "httpx.RemoteProtocolError", "receive"),
        },
    ),
}
libraries = pytest.mark.parametrize("library", LIBRARIES)


@interpreter
@libraries
def test_a_library_is_refused(library: str, closed: model.Lab) -> None:
    client, expected = LIBRARIES[library]
    outcome = client.attempt(closed)
    assert (outcome.error, outcome.type, outcome.phase) == expected["closed"], outcome
    assert outcome.chain[-1] == model.Surfaced(
        "ConnectionRefusedError", "[Errno 111] Connection refused", "ECONNREFUSED"
    )
    assert (outcome.error_from, outcome.exit) == ("errno", None)


@interpreter
@libraries
def test_a_library_gives_up_by_its_own_clock(library: str, silent: model.Lab) -> None:
    client, expected = LIBRARIES[library]
    outcome = client.attempt(silent)
    assert (outcome.error, outcome.type, outcome.phase) == expected["silent"], outcome
    assert outcome.returned_ns - outcome.started_ns >= 200_000_000


@interpreter
@libraries
@closing
def test_a_library_meets_the_end_of_the_stream(library: str, serving: model.Lab) -> None:
    client, expected = LIBRARIES[library]
    outcome = client.attempt(serving)
    assert (outcome.error, outcome.type) == expected["closing"][:2], outcome


@interpreter
@libraries
def test_a_library_is_answered(library: str, serving: model.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    begin_anew()
    outcome = LIBRARIES[library][0].attempt(serving)
    assert (outcome.error, outcome.code, outcome.chain) == ("ok", "200", ())


def test_a_library_that_is_not_there(closed: model.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.clients.requests.CODE", "import no_such_library")
    with pytest.raises(ToolMissing, match="no_such_library: not found; install it with: pip install no_such_library"):
        Requests().attempt(closed)


FUNCTIONS = """
import os, socket, time

def dial(target):
    print("dialling", target)
    with socket.create_connection((target.host, target.port), target.timeout) as sock:
        return sock.getpeername()[1] == target.port

def swallows(target):
    try:
        dial(target)
    except OSError:
        pass

def speaks_only(target):
    raise RuntimeError("driver: could not connect: Connection refused")

def crashes(target):
    os.abort()

def leaves(target):
    os._exit(0)

def hangs(target):
    dial(target)
    time.sleep(3600)
"""


def function(name: str, lab: model.Lab, folder: Path, hurry: float | None = None) -> model.Outcome:
    """One call of a function of a module beside the scenario."""
    (folder / "probes_of_mine.py").write_text(FUNCTIONS)
    client = Python(f"probes_of_mine:{name}")
    return client.attempt(lab_of(replace(lab.setting, folder=str(folder)), hurry))


@pytest.mark.parametrize(
    ("name", "error", "error_from"),
    [
        ("dial", "ECONNREFUSED", "errno"),
        ("swallows", "no-verdict", "errno"),
        ("speaks_only", "ECONNREFUSED", "text"),
        ("crashes", None, "errno"),
        ("leaves", "no-verdict", "errno"),
    ],
)
def test_a_function_beside_the_scenario(
    name: str, error: str, error_from: str, closed: model.Lab, tmp_path: Path
) -> None:
    outcome = function(name, closed, tmp_path)
    assert (outcome.error, outcome.error_from) == (error, error_from), outcome


def test_a_function_that_connects(silent: model.Lab, tmp_path: Path) -> None:
    outcome = function("dial", silent, tmp_path)
    port = silent.setting.target.port
    assert (outcome.error, outcome.stdout, outcome.exit) == ("ok", f"dialling 127.0.0.1:{port}\n", None)


@pytest.mark.slow("waits for a deadline that lets the interpreter start")
def test_a_function_that_hangs(silent: model.Lab, tmp_path: Path) -> None:
    assert function("hangs", silent, tmp_path, hurry=0.4).error == "hang"


def test_a_function_of_the_current_directory(
    closed: model.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    assert Python("here:dial").attempt(closed).error == "ECONNREFUSED"


def test_a_function_that_is_not_there(closed: model.Lab) -> None:
    with pytest.raises(LabError, match="`no_such_module:f` cannot be imported: ModuleNotFoundError"):
        Python("no_such_module:f").attempt(closed)


def test_placeholders_are_filled_in_and_other_braces_are_not() -> None:
    argv = ["awk", "{print $1}", "{url}", "{target}", "--to={host}", "{port}", "{{host}}", '{"a": 1}']
    assert filled(argv, setting(80, "server")) == [
        "awk", "{print $1}", "http://server:80/", "server:80", "--to=server", "80", "{server}", '{"a": 1}',
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["-server", "a b", "$(id)", "a;b", "", "ü", "{port}", "a\n"])
def test_nothing_but_a_host_name_is_filled_in(host: str) -> None:
    with pytest.raises(ScenarioError, match="cannot be filled in"):
        filled(["echo", "{host}"], setting(80, host))
    assert filled(["echo", "-n"], setting(80, host)) == ["echo", "-n"]


def test_a_deadline_follows_the_clients_clock_or_the_kernels() -> None:
    short = setting(80)
    assert deadline(short, None) == pytest.approx(8.375)
    assert deadline(short, 20.0) == pytest.approx(27.5)
    assert deadline(replace(short, timing="real"), None) > 131 * 1.125


def test_what_the_listener_must_speak() -> None:
    assert Requests.speaks == Httpx.speaks == "http"
    assert Python.speaks == "echo"
    assert [Command(("curl", url)).speaks for url in ("{url}", "http://{target}/", "{target}")] == [
        "http", "http", "echo",
    ]  # fmt: skip


def test_adapters_are_found_and_read_as_yaml_says_them() -> None:
    assert {"command", "python", "requests", "httpx"} <= set(kinds.clients())
    assert kinds.client("command", {"command": ["nc", "-w", 1]}) == Command(("nc", "-w", "1"))
    assert kinds.client("python", {"python": "a.b:c", "timeout": "1s"}) == Python("a.b:c", timeout=1.0)
    assert kinds.client("requests", {"timeout": "500ms", "node": "other"}) == Requests("other", 0.5)
    assert kinds.client("httpx", {}) == Httpx()
    assert all(kinds.help_of(cls).endswith(".") for cls in kinds.clients().values())


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_errno_is_known_by_its_text_and_by_its_name(number: int) -> None:
    name = errno.errorcode[number]
    assert error_named(f"prog: connect: {os.strerror(number)}\n") == name
    assert error_named(f"Error: connect {name} 198.18.0.2:8080") == name
    assert error_named(f"failed (os error {number})") == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", None),
        ("curl: (7) Failed to connect to server port 80 after 0 ms: Couldn't connect to server", None),
        ("curl: (28) Failed to connect to 10.9.0.1 port 80 after 3021 ms: Couldn't connect to server", None),
        ("curl: (28) Failed to connect to 10.9.0.1 port 80 after 502 ms: Timeout was reached", "timeout"),
        ("curl: (28) Connection timed out after 500 milliseconds", "timeout"),
        ("curl: (28) Operation timed out after 500 milliseconds with 0 bytes received", "timeout"),
        ("bash: connect: Connection timed out\nbash: line 1: /dev/tcp/h/1: Connection timed out", "ETIMEDOUT"),
        ("bash: line 1: h: Temporary failure in name resolution\nbash: /dev/tcp/h/1: Invalid argument", "EAI_AGAIN"),
        ("curl: (56) Recv failure: Connection reset by peer", "ECONNRESET"),
        ("curl: (52) Empty reply from server", "eof"),
        ('Get "http://h": dial tcp 10.0.0.1:1: connect: connection refused', "ECONNREFUSED"),
        ('Get "http://h": dial tcp 10.0.0.1:1: i/o timeout', "timeout"),
        ('Get "http://h": EOF', "eof"),
        ("Error: connect ETIMEDOUT 10.0.0.1:1", "ETIMEDOUT"),
        ("Error: getaddrinfo ENOTFOUND nohost", "EAI_NONAME"),
        ("java.net.SocketTimeoutException: Connect timed out", "timeout"),
        ("wget: can't connect to remote host (10.0.0.1): Host is unreachable", "EHOSTUNREACH"),
        ("nc: connect to h port 1 (tcp) timed out: Operation now in progress", "timeout"),
        ("socket.timeout: timed out", "timeout"),
        ("no such file: ~/.rc: No such file or directory\nconnect: No route to host", "EHOSTUNREACH"),
        ("in progress: EINPROGRESS\nconnect: Invalid argument", "EINVAL"),
        ("MYECONNREFUSEDNESS geoff econnrefused", None),
    ],
)
def test_what_programs_say(text: str, name: str | None) -> None:
    assert error_named(text) == name


def test_this_interpreter_is_the_one_that_calls_functions(
    closed: model.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "which.py").write_text("import sys\ndef one(target):\n    print(sys.executable)\n    return 1")
    monkeypatch.chdir(tmp_path)
    assert Python("which:one").attempt(closed).stdout == f"{sys.executable}\n"
