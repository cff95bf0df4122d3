"""The engine's raw streams: a descriptor of our own for one, and what is in it.

Without a terminal a stream is multiplexed as the Engine API says (ContainerAttach): 8 bytes of header, the first of
which is 1 for stdout and 2 for stderr, the last four the length.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

HEADER: Final = 8


class Demultiplexed:
    """The payloads of a multiplexed stream, as its bytes come in."""

    def __init__(self) -> None:
        self._raw = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(1 or 2, payload) of every frame that these bytes complete."""
        self._raw += data
        while len(self._raw) >= HEADER:
            kind, size = self._raw[0], struct.unpack(">I", self._raw[4:HEADER])[0]
            if len(self._raw) < HEADER + size:
                return
            payload, self._raw = self._raw[HEADER : HEADER + size], self._raw[HEADER + size :]
            yield kind, payload


def halves(stream: Any) -> bool:
    """Whether one direction of the stream can be closed by itself: TLS and ssh have no such thing."""
    sock = getattr(stream, "_sock", stream)
    return isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket)


def descriptor(stream: Any) -> int:
    """A descriptor of our own to read and write the stream by; TLS and ssh get a thread each way in between."""
    sock = getattr(stream, "_sock", stream)
    sock.settimeout(None)
    if halves(stream):
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
