"""Client `socket`: Python's own sockets, step by step, in each of the three ways in which programs wait."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from chaos.clients._attempt import deadline
from chaos.clients._steps import HEALTHY, Bind, Interrupt, Options, Step, To, Wait, misplaced, nonsense, wire_form
from chaos.conversation import segment
from chaos.fields import Duration, NodeName, Positive
from chaos.model import Lab, Outcome, Setting, Speaks, Surfaced

__all__ = ["HEALTHY", "Bind", "Interrupt", "Options", "Socket", "Step", "To", "Wait"]

WAITED = 10.0
HTTP = "GET /{nonce} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
NONE = Options()
STRANGERS = {"ipv4": "2001:db8::1", "ipv6": "198.18.0.1"}
"""An address of the other family."""


@dataclass(frozen=True)
class Socket:
    """Python's socket: connect, send a nonce, receive it again; or other `steps`.

    mode: `blocking` (the kernel's timers alone), `timeout` (settimeout), `nonblocking` (connect_ex, poll, SO_ERROR).
    size: bytes of the request, at least; the nonce is its end.
    privileges: `none` drops every capability for the steps, as an ordinary user has none.
    """

    speaks: ClassVar[Speaks] = "echo"

    node: NodeName = "client"
    mode: Literal["blocking", "timeout", "nonblocking"] = "blocking"
    timeout: Duration | None = None
    bind: Bind | None = None
    options: Options = NONE
    privileges: Literal["all", "none"] = "all"
    steps: tuple[Step, ...] = HEALTHY
    size: Positive = 1

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The steps must make sense in their order, and a time-out has its mode."""
        yield from (("steps", text) for text in nonsense(self.steps, self.mode, setting))
        yield from misplaced(self.options, self.bind, setting)
        if self.mode == "timeout" and self.timeout is None:
            yield "mode", "`mode: timeout` needs a `timeout`, such as 500ms"
        if self.mode == "blocking" and self.timeout is not None:
            yield "timeout", "a blocking socket has no time-out of its own; say `mode: timeout`"

    @property
    def overrides(self) -> dict[str, int]:
        """The sysctls of the SYN's schedule above which this socket's options stand (tcp(7))."""
        return {"tcp_syn_retries": self.options.TCP_SYNCNT} if self.options.TCP_SYNCNT else {}

    def healthy(self) -> Socket:
        """The same client making an ordinary round trip, as the baseline and the recovery want it."""
        bind = None if self.bind is None or self.bind.address else self.bind
        return Socket(self.node, self.mode, self.timeout, bind)

    def attempt(self, lab: Lab) -> Outcome:
        """Play the steps in the node; the sockets stay open until the lab is quiesced."""
        started_ns = time.time_ns()
        running = lab.nodes[self.node].start("connect", **self._job(lab))
        end = time.monotonic() + max(deadline(lab.setting, self.timeout), self.options.patience * 1.125 + 5.0)
        while (event := running.next(max(0.0, end - time.monotonic()))) is not None:
            if "outcome" in event:
                return _outcome(event["outcome"])
            self._wait(lab, event)
            running.tell({"go": True})
        return Outcome(error="hang", phase=None, started_ns=started_ns, returned_ns=time.time_ns())

    def _job(self, lab: Lab) -> dict[str, Any]:
        setting, nonce = lab.setting, secrets.token_hex(8)
        request = HTTP.format(nonce=nonce, host=setting.target.node) if setting.listen.speaks == "http" else nonce
        return {
            "host": setting.target.node,
            "port": setting.target.port,
            "path": setting.pathname,
            "family": "local" if setting.local else setting.family,
            "type": setting.type,
            "own": lab.nodes[self.node].address,
            "stranger": STRANGERS[setting.family],
            "mode": self.mode,
            "timeout": self.timeout,
            "options": self.options.given(),
            "privileged": self.privileges == "all",
            "bind": [lab.nowhere if self.bind.address else "", self.bind.port or 0] if self.bind else None,
            "steps": [wire_form(step) for step in self.steps],
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
    found = (packet for packet in lab.packets(node) if packet.outgoing == (way == ">"))
    return any(segment(packet).partition(":")[0] == kind for packet in found)


def _outcome(said: Mapping[str, Any]) -> Outcome:
    chain = tuple(Surfaced(**each) for each in said["chain"])
    kept = {name: said[name] for name in ("error", "phase", "step", "started_ns", "returned_ns", "waited_ns")}
    return Outcome(**kept, chain=chain, calls=tuple(said["calls"]), local=_end(said["local"]), peer=_end(said["peer"]))


def _end(address: Sequence[Any] | None) -> tuple[str, int] | None:
    return (address[0], address[1]) if address else None
