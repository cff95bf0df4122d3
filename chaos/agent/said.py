"""What an exception of a socket's says: the error's name, and what a program that catches it sees."""

from __future__ import annotations

import errno
import socket


class Failed(Exception):
    """An error that is no exception of Python's: `error` is its name."""

    def __init__(self, error: str, message: str) -> None:
        self.error = error
        super().__init__(message)


def name_of(error: Exception) -> str:
    """The name of an error: an errno's, an EAI_ name, `timeout`, `eof`."""
    if isinstance(error, Failed):
        return error.error
    if isinstance(error, socket.gaierror):
        names = [name for name in dir(socket) if name.startswith("EAI_") and getattr(socket, name) == error.errno]
        return names[0] if names else "EAI_FAIL"
    if isinstance(error, OSError) and (name := errno.errorcode.get(error.errno or 0)):
        return name
    if isinstance(error, TimeoutError):
        return "timeout"
    raise error


def surfaced(error: Exception) -> dict[str, str | None]:
    """What a program that catches it sees."""
    name = None
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        name = errno.errorcode.get(error.errno or 0)
    return {"type": type(error).__qualname__, "message": str(error), "errno": name}
