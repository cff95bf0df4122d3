"""A client of somebody's own, as `{python: "own_client:greet"}` names it: what it raises is what its user sees."""

import socket
from typing import Any


def greet(target: Any) -> str:
    """Connect the way a small internal library would, with its own exception around the kernel's."""
    try:
        with socket.create_connection((target.host, target.port), timeout=target.timeout) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(64).decode()
    except OSError as error:
        raise RuntimeError("the greeting service is not there") from error
