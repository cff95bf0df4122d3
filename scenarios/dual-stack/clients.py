"""Clients that have several addresses to choose from, as programs do it; each says hello and hears it back."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

HELLO = b"hello"


class Target(Protocol):
    """What the client `python` is given."""

    host: str
    port: int


def one_after_another(target: Target) -> str:
    """The standard library's own loop: each address for as long as the kernel tries it."""
    with socket.create_connection((target.host, target.port)) as connection:
        return _greet(connection)


def ipv4_first(target: Target) -> str:
    """The same loop in a program that has always preferred IPv4."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, protocol, _, address in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
            continue
        with connection:
            return _greet(connection)
    raise failure or OSError("no address")


def _greet(connection: socket.socket) -> str:
    connection.sendall(HELLO)
    return connection.recv(len(HELLO)).decode()


async def happy_eyeballs(target: Target) -> str:
    """asyncio's Happy Eyeballs (RFC 8305), with the delay that the RFC recommends."""
    reader, writer = await asyncio.open_connection(target.host, target.port, happy_eyeballs_delay=0.25)
    writer.write(HELLO)
    answer = await reader.readexactly(len(HELLO))
    writer.close()
    return answer.decode()
