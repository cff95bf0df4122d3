"""Operation `toxiproxy`: drives this node's Toxiproxy through toxiproxy-python, and believes only what it reads back.

Toxiproxy takes a misspelt attribute for 0 and says 200 when it could not do what it was told; toxiproxy-python has
neither deadlines nor an error for most statuses, and obeys HTTP_PROXY even for loopback. So: no proxies in the
environment, an alarm around every call, and every change is read back and compared. The API listens on loopback inside
the node only. A child of its own does it, so that the agent never waits; it is forked with the library loaded.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chaos.agent.serve import MISSING, Agent, OperationFailed, Pipe, describe

HOST, PORT = "127.0.0.1", 8474
CALL = 5.0
"""Seconds that one call may take; a proxy that waits for its upstream answers 503 after 25 s."""
POLL = 0.01
METRIC = "toxiproxy_proxy_{}_bytes_total"


def run(agent: Agent, *, libraries: list[str]) -> int:
    """Start the child that drives it; returns its number. `libraries`: toxiproxy-python's.

    Its first event is {"ready": true}. Told {"toxiproxy": {"do": NAME, ...}} it answers {"result": ...} or
    {"error": ...}; the names are the methods of Driver.
    """
    return agent.fork_loaded("toxiproxy", libraries)


def child(pipe: Pipe) -> None:
    """Answer questions until the agent hangs up."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    try:
        from toxiproxy import Toxiproxy  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise OperationFailed(kind=MISSING, tool=error.name or "toxiproxy") from None
    driver = Driver(Toxiproxy())
    pipe.write({"ready": True})
    while True:
        question = pipe.next()["toxiproxy"]
        try:
            with deadline(f"Toxiproxy did not answer `{question['do']}` within {CALL:g} s"):
                answer = getattr(driver, question.pop("do"))(**question)
            pipe.write({"result": answer})
        except Exception as error:
            pipe.write({"error": _told(error)})


@contextmanager
def deadline(message: str) -> Iterator[None]:
    """Raise OperationFailed in this (only) thread after CALL seconds."""

    def late(*_: object) -> None:
        raise OperationFailed(kind="error", message=message)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, CALL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _told(error: Exception) -> Mapping[str, Any]:
    if isinstance(error, OperationFailed) or not isinstance(error, OSError):
        return describe(error)
    return {"kind": "error", "message": f"Toxiproxy's API at {HOST}:{PORT} does not answer: {error}"}


class Driver:
    """What the host may ask of the server; `name` is a proxy's, and toxics are as Toxiproxy's API writes them."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def create(self, name: str, listen: str, upstream: str) -> Any:
        """Make a proxy, once the server serves; returns it as `look` does, and the server's `version`.

        One that is there already was made for an earlier lab of the same containers: it must be the same.
        """
        while not self._server.running():  # a container starts when it likes; the deadline is the caller's
            select.select([], [], [], POLL)
        version = json.loads(self._server.version())["version"]
        if self._server.get_proxy(name) is None:
            try:
                self._server.create(name=name, listen=listen, upstream=upstream, enabled=True)
            except KeyError:  # the library took an error for a proxy: it has no name
                text = f"Toxiproxy did not take the proxy {name!r}; it can listen on {listen} unless that is taken"
                raise OperationFailed(kind="error", message=text) from None
        found = self.look(name)
        wanted = {"name": name, "listen": listen, "upstream": upstream, "enabled": True, "toxics": []}
        _same("the proxy", wanted, found)
        return {**found, "version": version}

    def look(self, name: str) -> dict[str, Any]:
        """The proxy: {"name", "listen", "upstream", "enabled", "toxics"}."""
        answer = _get(f"/proxies/{name}")
        if answer is None:
            raise OperationFailed(kind="error", message=f"Toxiproxy has no proxy {name!r}: it was started anew")
        found: dict[str, Any] = json.loads(answer)
        return {key: found[key] for key in ("name", "listen", "upstream", "enabled", "toxics")}

    def add(self, name: str, toxic: dict[str, Any]) -> None:
        """Add a toxic: {"name", "type", "stream", "toxicity", "attributes"}, every attribute of its type given."""
        self._proxy(name).add_toxic(**toxic)
        _same("the toxic", [toxic], self.look(name)["toxics"])

    def remove(self, name: str, toxic: str) -> None:
        """Remove the toxic of this name, if it is there."""
        proxy = self._proxy(name)
        if toxic in proxy.toxics():
            proxy.destroy_toxic(toxic)
        _same("the list of toxics", [], [one for one in self.look(name)["toxics"] if one["name"] == toxic])

    def enable(self, name: str, enabled: bool) -> None:
        """Have it listen, or stop listening and close its connections."""
        proxy = self._proxy(name)
        change: Callable[[], None] = proxy.enable if enabled else proxy.disable
        change()
        _same("`enabled`", enabled, self.look(name)["enabled"])

    def passed(self, name: str) -> dict[str, list[int]]:
        """Bytes of connections that have ended, by direction: [received, sent]. Needs -proxy-metrics."""
        text = _get("/metrics")
        if text is None:
            text = "Toxiproxy has no /metrics: it was started without -proxy-metrics"
            raise OperationFailed(kind="error", message=text)
        return {way: [_counted(text, kind, name, way) for kind in ("received", "sent")] for way in WAYS}

    def _proxy(self, name: str) -> Any:
        found = self._server.get_proxy(name)
        if found is None:
            raise OperationFailed(kind="error", message=f"Toxiproxy has no proxy {name!r}: it was started anew")
        return found


WAYS = ("downstream", "upstream")


def _get(path: str) -> str | None:
    """What toxiproxy-python does not read; None for 404."""
    from http.client import HTTPConnection  # toxiproxy-python has it loaded; an agent that drives nothing has not

    connection = HTTPConnection(HOST, PORT, timeout=CALL)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status not in (200, 404):
        raise OperationFailed(kind="error", message=f"Toxiproxy answers GET {path} with status {answer.status}: {text}")
    return text if answer.status == 200 else None


def _counted(text: str, kind: str, name: str, way: str) -> int:
    """One counter of the Prometheus text format; 0 until the first connection has ended."""
    for line in text.splitlines():
        if line.startswith(METRIC.format(kind)) and f'proxy="{name}"' in line and f'direction="{way}"' in line:
            return int(float(line.rpartition(" ")[2]))
    return 0


def _same(what: str, wanted: Any, found: Any) -> None:
    if found != wanted:
        text = f"Toxiproxy did not take {what}: it was told {json.dumps(wanted)} and says {json.dumps(found)}"
        raise OperationFailed(kind="error", message=text)
