"""Operation `pathname`: the UNIX socket behind a path, as the kernel and the file system hold it (unix(7))."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from typing import Any

from chaos.agent.diag import NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent

ALL_STATES = 0xFFFFFFFF
SHOW_NAME, SHOW_QUEUE = 1, 1 << 4
NAME, QUEUE = 0, 4  # UNIX_DIAG_NAME, UNIX_DIAG_RQLEN: include/uapi/linux/unix_diag.h
AF_UNIX, LISTEN = 1, 10
TYPES = {1: "stream", 2: "datagram", 3: "raw"}


def run(agent: Agent, *, path: str, mode: int | None = None, unlink: bool = False) -> dict[str, Any] | None:
    """Change the file's mode, or remove it; what is there now.

    {"mode": permissions, "owners": [{"type", "listening", "accept", "backlog"}, ...]}, or None: no such file.
    """
    if mode is not None:
        os.chmod(path, mode)
    if unlink:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return {"mode": stat.S_IMODE(found.st_mode), "owners": owners(path)}


def owners(path: str) -> list[dict[str, Any]]:
    """The sockets that are bound to this path: a connection that waits or was accepted has its listener's too."""
    request = struct.pack("=BBHIIIII", AF_UNIX, 0, 0, ALL_STATES, 0, SHOW_NAME | SHOW_QUEUE, 0, 0)
    with Netlink(NETLINK_SOCK_DIAG) as netlink:
        return [it for message in netlink.dump(SOCK_DIAG_BY_FAMILY, request) if (it := _owner(message, path))]


def _owner(message: bytes, path: str) -> dict[str, Any] | None:
    attributes, at = {}, 16
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        attributes[kind] = message[at + 4 : at + size]
        at += max(4, size + 3 & ~3)
    if attributes.get(NAME, b"").rstrip(b"\0") != path.encode():
        return None
    accept, backlog = struct.unpack("=II", attributes[QUEUE])
    listening = message[2] == LISTEN
    return {"type": TYPES.get(message[1]), "listening": listening, "accept": accept, "backlog": backlog}
