"""Containers of a lab over the engine's API: an agent's line, and a client that runs by exec.

The line is the container's standard input and output, attached (docker-attach(1)).
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from chaos.backends.attached import Demultiplexed, descriptor
from chaos.backends.channel import AgentNode, Channel, Passed
from chaos.backends.modules import Luggage
from chaos.backends.streamed import Streamed, unstarted
from chaos.errors import LabError

if TYPE_CHECKING:
    from docker import APIClient

SERVICE: Final = "com.docker.compose.service"
KEPT: Final = 4096
MARK: Final = "CONNECT_CHAOS_ATTEMPT"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
ENVIRONMENT: Final = {"LC_MESSAGES": "C"} | {name: "" for proxy in _PROXIES for name in (proxy, proxy.upper())}
"""No proxy of any spelling, and messages in English, as in chaos/agent/attempt.py."""
END: Final = (
    "for each in /proc/[0-9]*; do tr '\\0' '\\n' < $each/environ | grep -qx '{mark}' && kill -9 ${{each#/proc/}}; done"
    " 2> /dev/null; :"
)
"""In a container of the user's image, if it has a shell: what the operation `marked` does."""
WRAPPED: Final = "import os, sys; os.dup2(1, 9); os.dup2(2, 1); exec(sys.argv.pop(3))"
"""A Python client by exec has no descriptor of ours for its report: that is its stdout, and its stdout is stderr."""


@cache
def _program() -> str:
    """The text of surface.py: a container of the user's does not have our files."""
    return (resources.files("chaos") / "agent" / "surface.py").read_text(encoding="utf-8")


class Lines:
    """The lines to all agents of a session, which end with it.

    Of a container that is removed just when somebody attaches to it, an engine may never say that it has ended.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Attached] = set()
        self._over = False

    def add(self, line: Attached) -> None:
        """A line, which ends at once when the session is over."""
        with self._lock:
            self._open.add(line)
            if self._over:
                line.hang_up()

    @contextmanager
    def without(self, line: Attached) -> Iterator[None]:
        """This one is closed inside, and nobody hangs up meanwhile: its descriptor may be another's afterwards."""
        with self._lock:
            self._open.discard(line)
            yield

    def end(self) -> None:
        """The session is over."""
        with self._lock:
            self._over = True
            for line in self._open:
                line.hang_up()


class Attached(Channel):
    """An agent whose line is the attached stream of its container."""

    passes_descriptors = False

    def __init__(self, node: str, api: APIClient, container: str, lines: Lines) -> None:
        wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        stream = api.attach_socket(container, params=wanted)
        fd = descriptor(stream)
        super().__init__(node, fd, fd)
        self._stream, self.stderr, self._lines = Demultiplexed(), b"", lines
        lines.add(self)

    def close(self) -> None:
        with self._lines.without(self):
            super().close()

    def hang_up(self) -> None:
        """Whoever waits for an answer, in another thread, is told that the agent has died."""
        with socket.socket(fileno=os.dup(self.reader)) as line, suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> bytes | None:
        data = os.read(self.reader, 1 << 18)
        if not data:
            return data
        out = b""
        for kind, payload in self._stream.feed(data):
            if kind == 2:
                self.stderr = (self.stderr + payload)[-KEPT:]
            else:
                out += payload
        return out or None

    def _died(self) -> LabError:
        super()._died()
        said = self.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return LabError(f"the agent in node {self.node!r} died" + (f": {said}" if said else ""))


class Execution:
    """A client that runs by exec in its own container (model.Running); its one event is its result.

    The agent's line belongs to the lab's thread: ours only waits for the engine.
    """

    def __init__(self, node: ProductNode, job: Mapping[str, Any]) -> None:
        self._node, self._deadline, self._mark = node, job["deadline"], uuid.uuid4().hex
        self._told = job.get("surface") is not None
        self._argv = list(job["argv"])
        if self._told:
            inner = node.luggage.take(job["surface"])
            self._argv = ["python3", "-c", WRAPPED, "9", json.dumps(inner), _program()]
        self._results: queue.Queue[tuple[int, bytes, bytes] | LabError] = queue.Queue()
        self._started = node.call("clock")
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            self._results.put(self._node.execute(self._argv, {MARK: self._mark, **ENVIRONMENT}))
        except LabError as error:  # nobody would hear of it, and wait for the client's end
            self._results.put(error)
        except (DockerException, RequestException, OSError) as error:
            self._results.put(LabError(f"exec in node {self._node.name!r}: {error}"))

    def next(self, deadline: float) -> Any:
        """Its result; at the client's own deadline it is killed, and has hung."""
        hung = False
        try:
            result = self._results.get(timeout=min(self._deadline, deadline))
        except queue.Empty:
            hung = True
            self.end()
            try:
                result = self._results.get(timeout=max(0.0, deadline - self._deadline))
            except queue.Empty:
                return None
        if isinstance(result, LabError):
            raise result
        return self._as_attempt(*result, self._node.call("clock")) | {"hung": hung}

    def _as_attempt(self, status: int, stdout: bytes, stderr: bytes, returned: int) -> dict[str, Any]:
        """As chaos/agent/attempt.py's."""
        missing = unstarted(self._argv[0], (stdout + stderr).decode(errors="replace"))
        if status in (126, 127) and missing is not None:
            return missing
        out, report = stdout.decode(errors="replace"), None
        if self._told:
            with suppress(ValueError):
                report = json.loads(out)
            out = ""
        times = {"started_ns": self._started, "returned_ns": returned}
        times |= {name: report[name] for name in times if isinstance(report, dict) and name in report}
        said = {"stdout": out, "stderr": stderr.decode(errors="replace"), "report": report}
        return {"exit": status, "signal": None, **said, **times}

    def ready(self) -> bool:
        """Whether it has ended."""
        return not self._results.empty()

    def tell(self, message: Any) -> None:  # noqa: ARG002 (nobody hears it)
        """Not to be had."""
        raise LabError("a program that runs by exec takes no word")

    def end(self) -> None:
        """Kill it, and what it started."""
        self._node.end(self._mark)


class ContainerNode(AgentNode):
    """A node that is a container, in which programs of the user's run by exec; their names go with the container."""

    def __init__(
        self, name: str, address: str, interface: str, channel: Channel, api: APIClient, container: str
    ) -> None:
        super().__init__(name, address, interface, channel)
        self._api, self._container, self.luggage = api, container, Luggage(api, container)

    def start(self, operation: str, /, **arguments: Any) -> Any:
        if operation == "passthrough":
            return self.hand_over((0, 1, 2), operation, **arguments)
        return super().start(operation, **arguments)

    def hand_over(self, fds: Sequence[int], operation: str, /, **arguments: Any) -> Passed:
        """Run a program on these descriptors, as the operation `passthrough` does."""
        assert operation == "passthrough", operation
        mark = uuid.uuid4().hex
        environment = {MARK: mark, **ENVIRONMENT}
        return Streamed(self._api, self._container, arguments["job"], environment, fds, lambda: self.end(mark))

    def end(self, mark: str) -> None:
        """End all programs with this mark in their environment."""
        self.call("marked", mark=f"{MARK}={mark}")


class ImageNode(ContainerNode):
    """A node of our own image, which carries its agent: its Python is not the host's."""

    def start(self, operation: str, /, **arguments: Any) -> Any:
        if operation == "attempt" and (surface := arguments["job"].get("surface")) is not None:
            arguments["job"] = {**arguments["job"], "surface": self.luggage.take(surface)}
        return super().start(operation, **arguments)


class ProductNode(ContainerNode):
    """A node whose service has an image of its own: its agent is a sidecar, clients run by exec in its container."""

    def __init__(self, name: str, address: str, channel: Channel, api: APIClient, container: str) -> None:
        super().__init__(name, address, "eth0", channel, api, container)
        self._began = self._state()["StartedAt"]

    def check(self) -> None:
        """Its container still runs, and is the one that it was: a restart brings a namespace without us in it."""
        state = self._state()
        if not state["Running"]:
            killed = " (out of memory)" if state["OOMKilled"] else ""
            raise LabError(f"the container of `{self.name}` has ended with status {state['ExitCode']}{killed}")
        if state["StartedAt"] != self._began:
            text = f"the container of `{self.name}` was started anew: its new network knows neither faults nor capture"
            raise LabError(text)

    def _state(self) -> Mapping[str, Any]:
        """Its `State`, as the Engine API has it (ContainerInspect)."""
        from docker.errors import NotFound

        try:
            state: Mapping[str, Any] = self._api.inspect_container(self._container)["State"]
        except NotFound:
            raise LabError(f"the container of `{self.name}` was removed") from None
        return state

    def start(self, operation: str, /, **arguments: Any) -> Any:
        return Execution(self, arguments["job"]) if operation == "attempt" else super().start(operation, **arguments)

    def end(self, mark: str) -> None:
        """Also where the sidecar does not see them: only a client's shares its pid namespace."""
        super().end(mark)
        self.execute(["sh", "-c", END.format(mark=f"{MARK}={mark}")], {})

    def execute(self, argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
        """Run a program in the service's container to its end: exit status, stdout, stderr."""
        made = self._api.exec_create(self._container, list(argv), environment=dict(environment))
        stdout, stderr = self._api.exec_start(made["Id"], demux=True)
        return self._api.exec_inspect(made["Id"])["ExitCode"], stdout or b"", stderr or b""


def ended(api: APIClient, label: str) -> list[str]:
    """Of the containers with this label those that have ended, and what they said last, in words."""
    from docker.errors import APIError

    found = []
    for it in api.containers(all=True, filters={"label": label, "status": ["exited", "dead"]}):
        said = b""
        with suppress(APIError):  # a container whose output is kept nowhere
            said = api.logs(it["Id"], tail=1).strip()
        status = api.inspect_container(it["Id"])["State"]["ExitCode"]
        text = f"the container of `{it['Labels'][SERVICE]}` has ended with status {status}"
        found.append(text + (f"; it said last: {said.decode(errors='replace')}" if said else ""))
    return found
