"""A client of `later-clients-stall`: one connection that waits, and then a second one that wants an answer."""

from __future__ import annotations

import socket
from typing import Any


def second(target: Any) -> bool:
    """Whether the second of two connections got its echo; raises what its socket raises."""
    address = (target.host, target.port)
    with socket.create_connection(address), socket.create_connection(address) as later:
        later.settimeout(0.5)
        later.sendall(b"second")
        return later.recv(16) == b"second"
