"""What cannot be expected behind a Toxiproxy: it completes the client's handshake before it dials the server.

Whatever happens on its way to the server, and whatever a toxic does, the client's connect() has succeeded by then.
Scenarios that expect otherwise are refused with the place where the fault belongs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from chaos.model import ROUTER, Fault, Setting
from chaos.scenario.language import Expect
from chaos.scenario.parts import FaultPart

OF_CONNECT: Final = (
    "ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPERM", "EADDRNOTAVAIL", "ENOPROTOOPT",
    "EHOSTDOWN", "ENONET", "EPROTO",
)  # fmt: skip
"""What connect(2) reports of a path; on an established connection they would need a fault in front of the proxy."""


def behind(faults: Sequence[FaultPart], setting: Setting, expect: Expect) -> Iterator[tuple[int, str, str]]:
    """(number of the fault, its key, message) for each fault that cannot cause the connect error that is expected."""
    if not setting.proxied or not _of_connect(expect):
        return
    reach = [_reaches_connect(part.kind, part.fault, setting) for part in faults]
    if any(reach):
        return  # the error may be the other fault's
    expected = expect.error if expect.error in OF_CONNECT else f"{expect.error or 'an error'} in connect()"
    proxy = setting.target.node
    for number, part in enumerate(faults):
        if part.kind == "toxic":
            text = f"no toxic touches connect(), so {expected} cannot come of one; a fault at {proxy!r} can cause it"
            yield number, "type", text
        else:
            text = f"this {part.kind} is behind Toxiproxy, which accepts before it dials: the client's connect() "
            place = (
                f"put it at {proxy!r}"
                if hasattr(part.fault, "at")
                else f"leave out {setting.listen.node!r} and its port"
            )
            text += f"succeeds, and {expected} cannot come of it; {place}, or expect what comes after"
            yield number, "at", f"{text} (phase: receive)"


def _of_connect(expect: Expect) -> bool:
    if expect.phase is not None:
        return expect.phase == "connect"
    return expect.error in OF_CONNECT


def _reaches_connect(kind: str, fault: Fault, setting: Setting) -> bool:
    """Whether a fault is on the client's way to the proxy, or is the proxy itself."""
    if kind == "toxic":
        return False
    said: Any = fault
    ends = {getattr(said, name, None) for name in ("at", "to", "from_", "of")}
    if setting.listen.node in ends:
        return False
    port = getattr(said, "port", None)
    near = setting.listen.port == setting.target.port or port != setting.listen.port
    return near or (getattr(said, "at", ROUTER) not in (ROUTER, setting.target.node))  # without `at`: of the wire
