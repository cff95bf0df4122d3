"""Client `socket`: Python's own sockets, step by step, in each of the three ways in which programs wait."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from chaos.clients._attempt import deadline
from chaos.conversation import segment
from chaos.errors import LabError
from chaos.fields import Duration, NodeName, Port, Positive
from chaos.model import Lab, Outcome, Running, Setting, Speaks, Surfaced

WAITED = 10.0
HTTP = "GET /{nonce} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Bind:
    """The local port of an explicit bind(2); its address is the kernel's choice."""

    port: Port


@dataclass(frozen=True)
class Wait:
    """Wait for `fault` (our listener has acted), or for a segment at the client: `< rst`, `> syn`."""

    wait: Literal["fault", "< rst", "< fin", "< data", "< ack", "< syn-ack"]


Step = Literal["connect", "send", "recv", "hold"] | Wait
HEALTHY: tuple[Step, ...] = ("connect", "send", "recv")


@dataclass(frozen=True)
class Socket:
    """Python's socket: connect, send a nonce, receive it again; or other `steps`.

    mode: `blocking` (the kernel's timers alone), `timeout` (settimeout), `nonblocking` (connect_ex, poll, SO_ERROR).
    size: bytes of the request, at least; the nonce is its end.
    """

    speaks: ClassVar[Speaks] = "echo"

    node: NodeName = "client"
    mode: Literal["blocking", "timeout", "nonblocking"] = "blocking"
    timeout: Duration | None = None
    bind: Bind | None = None
    steps: tuple[Step, ...] = HEALTHY
    size: Positive = 1

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The steps must make sense in their order, and a time-out has its mode."""
        if not self.steps or self.steps[0] != "connect":
            yield "steps", "the first step must be `connect`"
        if self.steps.count("connect") > 1:
            yield "steps", "`connect` can be a step only once"
        if self.mode == "timeout" and self.timeout is None:
            yield "mode", "`mode: timeout` needs a `timeout`, such as 500ms"
        if self.mode == "blocking" and self.timeout is not None:
            yield "timeout", "a blocking socket has no time-out of its own; say `mode: timeout`"

    def healthy(self) -> Socket:
        """The same client making an ordinary round trip, as the baseline and the recovery want it."""
        return replace(self, steps=HEALTHY, size=1)

    def attempt(self, lab: Lab) -> Outcome:
        """Play the steps in the node; the sockets stay open until the lab is quiesced."""
        started_ns = time.time_ns()
        running = lab.nodes[self.node].start("connect", **self._job(lab.setting))
        lab.on_quiesce(lambda: _release(running))
        end = time.monotonic() + deadline(lab.setting, self.timeout)
        while (event := running.next(max(0.0, end - time.monotonic()))) is not None:
            if "outcome" in event:
                return _outcome(event["outcome"])
            self._wait(lab, event)
            running.tell({"go": True})
        return Outcome(error="hang", phase=None, started_ns=started_ns, returned_ns=time.time_ns())

    def _job(self, setting: Setting) -> dict[str, Any]:
        nonce = secrets.token_hex(8)
        request = HTTP.format(nonce=nonce, host=setting.target.node) if setting.listen.speaks == "http" else nonce
        return {
            "host": setting.target.node,
            "port": setting.target.port,
            "family": setting.family,
            "mode": self.mode,
            "timeout": self.timeout,
            "bind": self.bind.port if self.bind else None,
            "steps": [{"wait": step.wait} if isinstance(step, Wait) else step for step in self.steps],
            "request": request.rjust(self.size, "."),
            "expects": nonce,
        }

    def _wait(self, lab: Lab, event: Mapping[str, Any]) -> None:
        """What the client is to wait for between two steps."""
        waited = event.get("waiting")
        if waited is None:
            lab.hold()
        elif waited == "fault":
            lab.wait(lab.acted, "the listener to act on the connection", WAITED)
        else:
            way, kind = waited.split()
            lab.wait(lambda: _seen(lab, self.node, way, kind), f"{waited!r} at {self.node}", WAITED)


def _seen(lab: Lab, node: str, way: str, kind: str) -> bool:
    return any(packet.outgoing == (way == ">") and segment(packet) == kind for packet in lab.packets(node))


def _release(running: Running) -> None:
    """Have the client's sockets closed silently; one that hangs is killed."""
    running.tell({"release": True})
    try:
        answer = running.next(1.0)
    except LabError:
        return  # it is gone, and its sockets with it
    if answer is None:
        running.end()


def _outcome(said: Mapping[str, Any]) -> Outcome:
    chain = tuple(Surfaced(**each) for each in said["chain"])
    local = (said["local"][0], said["local"][1]) if said["local"] else None
    kept = {name: said[name] for name in ("error", "phase", "step", "started_ns", "returned_ns", "waited_ns")}
    return Outcome(**kept, chain=chain, local=local)
