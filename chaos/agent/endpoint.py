"""Sockets of each domain and type that a scenario may name: how they are made, addressed and optioned.

family          stream      datagram    raw
ipv4, ipv6      TCP         UDP         protocol 253, which is for experiments (RFC 3692) and has no ports
local           unix(7), by a path; a raw one is a datagram one (net/unix/af_unix.c, unix_create)
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "local": socket.AF_UNIX}
TYPES = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM, "raw": socket.SOCK_RAW}
EXPERIMENT = 253

TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE = 30, 34

_SOCKET, _TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
OPTIONS = {
    "SO_KEEPALIVE": (_SOCKET, socket.SO_KEEPALIVE, "i"),
    "SO_SNDBUF": (_SOCKET, socket.SO_SNDBUF, "i"),
    "SO_RCVBUF": (_SOCKET, socket.SO_RCVBUF, "i"),
    "SO_SNDTIMEO": (_SOCKET, socket.SO_SNDTIMEO, "timeval"),
    "SO_RCVTIMEO": (_SOCKET, socket.SO_RCVTIMEO, "timeval"),
    "TCP_KEEPIDLE": (_TCP, socket.TCP_KEEPIDLE, "s"),
    "TCP_KEEPINTVL": (_TCP, socket.TCP_KEEPINTVL, "s"),
    "TCP_KEEPCNT": (_TCP, socket.TCP_KEEPCNT, "i"),
    "TCP_SYNCNT": (_TCP, socket.TCP_SYNCNT, "i"),
    "TCP_USER_TIMEOUT": (_TCP, socket.TCP_USER_TIMEOUT, "ms"),
    "TCP_FASTOPEN_CONNECT": (_TCP, TCP_FASTOPEN_CONNECT, "i"),
    "TCP_FASTOPEN_NO_COOKIE": (_TCP, TCP_FASTOPEN_NO_COOKIE, "i"),
}
"""Name: level, number, and what the kernel counts in (socket(7), tcp(7)); a scenario's times are seconds."""


def make(family: str, kind: str) -> socket.socket:
    """socket(2). Raises PermissionError for a raw one without CAP_NET_RAW."""
    protocol = EXPERIMENT if kind == "raw" and family != "local" else 0
    return socket.socket(FAMILIES[family], TYPES[kind], protocol)


def family_of(address: str) -> str:
    """The family of an address: a path is local."""
    if address.startswith("/"):
        return "local"
    return "ipv6" if ":" in address else "ipv4"


def name(address: str, port: int) -> Any:
    """An address as Python's sockets take it."""
    return address if address.startswith("/") else (address, port)


def bound(address: str, port: int, kind: str) -> socket.socket:
    """A server's socket, bound; a path that an earlier one has left behind is taken over."""
    sock = make(family_of(address), kind)
    if address.startswith("/"):
        os.makedirs(os.path.dirname(address), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
    else:
        sock.setsockopt(_SOCKET, socket.SO_REUSEADDR, 1)
    if address == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # one socket takes both families (ipv6(7))
    sock.bind(name(address, port))
    return sock


def set_options(sock: socket.socket, options: Mapping[str, float]) -> None:
    """setsockopt(2), in their order. Raises OSError for what this kernel does not have."""
    for option, value in options.items():
        level, number, unit = OPTIONS[option]
        if unit == "timeval":
            sock.setsockopt(level, number, struct.pack("@ll", int(value), round(value % 1 * 1e6)))
        else:
            sock.setsockopt(level, number, round(value * 1000) if unit == "ms" else int(value))


def sockaddr(address: str, port: int) -> bytes:
    """struct sockaddr_in or sockaddr_in6, without a scope, as connect(2) takes it (ip(7), ipv6(7))."""
    if ":" in address:
        family, where = socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address)
        return struct.pack("=H", family) + struct.pack("!HI16sI", port, 0, where, 0)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(address))
