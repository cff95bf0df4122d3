"""Containers of a lab over the engine's API: an agent's line, and a client that runs by exec.

The line is the container's standard input and output, attached (docker-attach(1)); the stream is multiplexed as the
Engine API says (ContainerAttach): 8 bytes of header, the first of which is 1 for stdout and 2 for stderr, the last four
the length.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from chaos.backends.channel import AgentNode, Channel
from chaos.backends.modules import taken_along
from chaos.errors import LabError

if TYPE_CHECKING:
    from docker import APIClient

SERVICE: Final = "com.docker.compose.service"
HEADER: Final = 8
KEPT: Final = 4096
MARK: Final = "CONNECT_CHAOS_ATTEMPT"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
ENVIRONMENT: Final = {"LC_MESSAGES": "C"} | {name: "" for proxy in _PROXIES for name in (proxy, proxy.upper())}
"""No proxy of any spelling, and messages in English, as in chaos/agent/attempt.py."""
WRAPPED: Final = "import os, sys; os.dup2(1, 9); os.dup2(2, 1); exec(sys.argv.pop(3))"
"""A Python client by exec has no descriptor of ours for its report: that is its stdout, and its stdout is stderr."""


class Attached(Channel):
    """An agent whose line is the attached stream of its container."""

    passes_descriptors = False

    def __init__(self, node: str, api: APIClient, container: str) -> None:
        wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        stream = api.attach_socket(container, params=wanted)
        fd = _descriptor(stream)
        super().__init__(node, fd, fd)
        self._raw, self.stderr = b"", b""

    def _receive(self) -> bytes | None:
        data = os.read(self.reader, 1 << 18)
        if not data:
            return data
        self._raw += data
        out = b""
        while len(self._raw) >= HEADER:
            kind, size = self._raw[0], struct.unpack(">I", self._raw[4:HEADER])[0]
            if len(self._raw) < HEADER + size:
                break
            payload, self._raw = self._raw[HEADER : HEADER + size], self._raw[HEADER + size :]
            if kind == 2:
                self.stderr = (self.stderr + payload)[-KEPT:]
            else:
                out += payload
        return out or None

    def _died(self) -> LabError:
        super()._died()
        said = self.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return LabError(f"the agent in node {self.node!r} died" + (f": {said}" if said else ""))


def _descriptor(stream: Any) -> int:
    """A descriptor of our own to read and write the stream by; TLS and ssh get a thread each way in between."""
    sock = getattr(stream, "_sock", stream)
    sock.settimeout(None)
    if isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket):
        fd = os.dup(sock.fileno())
        for end in (stream, sock):
            end.close()
        return fd
    ours, theirs = socket.socketpair()
    for source, sink in ((sock, theirs), (theirs, sock)):
        threading.Thread(target=_copy, args=(source, sink), daemon=True).start()
    return ours.detach()


def _copy(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.close()


class Execution:
    """A client that runs by exec in its own container (model.Running); its one event is its result.

    The agent's line belongs to the lab's thread: ours only waits for the engine.
    """

    def __init__(self, node: ProductNode, job: Mapping[str, Any]) -> None:
        self._node, self._deadline, self._mark = node, job["deadline"], uuid.uuid4().hex
        self._told = job.get("surface") is not None
        self._argv = list(job["argv"])
        if self._told:
            inner = node.taken_along(job["surface"]["job"])
            self._argv = ["python3", "-c", WRAPPED, "9", json.dumps(inner), job["surface"]["program"]]
        self._results: queue.Queue[tuple[int, bytes, bytes] | LabError] = queue.Queue()
        self._started = node.call("clock")
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            self._results.put(self._node.execute(self._argv, {MARK: self._mark, **ENVIRONMENT}))
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
        if status in (126, 127) and b"OCI runtime exec failed" in stdout + stderr:
            denied = b"permission denied" in stdout + stderr
            return {"missing": self._argv[0], "errno": "EACCES" if denied else "ENOENT"}
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
        self._node.call("marked", mark=f"{MARK}={self._mark}")


class ImageNode(AgentNode):
    """A node of our own image, which carries its agent: its Python is not the host's."""

    def __init__(
        self, name: str, address: str, interface: str, channel: Channel, api: APIClient, container: str
    ) -> None:
        super().__init__(name, address, interface, channel)
        self._api, self._container = api, container

    def start(self, operation: str, /, **arguments: Any) -> Any:
        if operation == "attempt" and (surface := arguments["job"].get("surface")) is not None:
            inner = taken_along(self._api, self._container, surface["job"])
            arguments["job"] = {**arguments["job"], "argv": ["python3"], "surface": {**surface, "job": inner}}
        return super().start(operation, **arguments)


class ProductNode(AgentNode):
    """A node whose service has an image of its own: its agent is a sidecar, clients run by exec in its container."""

    def __init__(self, name: str, address: str, channel: Channel, api: APIClient, container: str) -> None:
        super().__init__(name, address, "eth0", channel)
        self._api, self._container = api, container
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

    def taken_along(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """The job of surface.py, with the user's own module in the container."""
        return taken_along(self._api, self._container, job)

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
