"""The shortest Python programs that behave as our listeners do, and as a python client does, for a person to type.

They hold no single quote, so that a shell's quotes can hold them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from chaos.agent.endpoint import EXPERIMENT, family_of
from chaos.stepwise import AF, SOCK

SERVES = [
    "    try:",
    "        while data := connection.recv(65536): connection.sendall(data)",
    "    except ConnectionError: pass  # the next one is served all the same",
]
READS = [line.replace("connection.sendall(data)", "pass") for line in SERVES]
CLOSES = ["    connection.close()"]
VANISHES = [
    '    deaf = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))  # BPF: accept nothing',
    '    connection.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(deaf)))',
    "    signal.pause()",
]
LINGER = ['    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))']
REPAIR = ["    connection.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR"]
DOES = {
    "serve": SERVES,
    "silent": READS,
    "close": CLOSES,
    "abort": LINGER + CLOSES,
    "forget": REPAIR + CLOSES,
    "vanish": VANISHES,
}
ACTS = ("close", "abort", "forget", "vanish")
ECHOES = "while True: sock.sendto(*sock.recvfrom(65536))"
"""A server of datagrams."""


def listener(said: Mapping[str, Any]) -> str:
    """A listener as the operation `listener` starts it (chaos/agent/listener.py)."""
    if said["kind"] != "stream":
        return datagrams(said)
    address, family = _address(said), f"socket.{AF[family_of(said['address'])]}"
    lines = [
        "import ctypes, signal, socket, struct",
        f"listener = socket.socket({family})",
        "listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
        f"listener.bind({address})",
        f"listener.listen({said['backlog']})",
        f"fill = [socket.socket({family}) for _ in range({said['fill']})]",
        f"for sock in fill: sock.connect({address})",
    ][: 7 if said["fill"] else 5]
    if said["do"] == "never-accept":
        return "\n".join([*lines, "signal.pause()  # and never accept()"])
    lines += ["while True:", "    connection, peer = listener.accept()"]
    wanted = {"accept": 0, "data": 1}.get(said["after"], said["after"])
    if wanted and said["do"] in ACTS:
        lines.append(f"    connection.recv({wanted}, socket.MSG_WAITALL)")
    return "\n".join(lines + DOES[said["do"]])


def datagrams(said: Mapping[str, Any]) -> str:
    """A server of datagrams as the operation `listener` starts it (chaos/agent/datagrams.py)."""
    family, kind = family_of(said["address"]), said["kind"]
    protocol = f", {EXPERIMENT}" if kind == "raw" and family != "local" else ""
    headed = kind == "raw" and family == "ipv4"
    echo = "data, peer = sock.recvfrom(65536); sock.sendto(data[(data[0] & 15) * 4:], peer)"
    return "\n".join(
        [
            "import signal, socket",
            f"sock = socket.socket(socket.{AF[family]}, socket.{SOCK[kind]}{protocol})",
            f"sock.bind({_address(said)})",
            (f"while True: {echo}" if headed else ECHOES) if said["do"] == "serve" else "signal.pause()",
        ]
    )


def occupant(said: Mapping[str, Any]) -> str:
    """Who has a port, as the operation `occupy` starts it."""
    family = AF[family_of(said["address"])]
    lines = ["import signal, socket", f"sock = socket.socket(socket.{family}, socket.{SOCK[said['kind']]})"]
    lines.append(f"sock.bind({_address(said)})")
    return "\n".join([*lines, *(["sock.listen(1)"] if said["kind"] == "stream" else []), "signal.pause()"])


def crossing(said: Mapping[str, Any]) -> str:
    """Who dials at the same time, as the operation `crossing` starts it."""
    here, there = (f'("{end[0]}", {end[1]})' for end in (said["here"], said["there"]))
    lines = [
        "import socket",
        "while True:",
        f"    sock = socket.socket(socket.{AF[family_of(str(said['here'][0]))]})",
        "    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
        f"    sock.bind({here})",
        f"    if sock.connect_ex({there}): sock.close(); continue",
        "    while data := sock.recv(65536): sock.sendall(data)",
    ]
    return "\n".join(lines)


def _address(said: Mapping[str, Any]) -> str:
    address = said["address"]
    return json.dumps(address) if address.startswith("/") else f'("{address}", {said["port"]})'


def function(job: Mapping[str, Any]) -> str:
    """A call of a function of Python's, as chaos/agent/surface.py makes it."""
    target = ", ".join(f"{name}={_literal(job[name])}" for name in ("host", "port", "url", "timeout"))
    lines = ["import sys, types", f"target = types.SimpleNamespace({target})"]
    if not job["function"]:
        return "\n".join([*lines, inspect.cleandoc(job["code"]), "", "print(call(target))"])
    module, name = job["function"].split(":")
    lines += [f"sys.path[:0] = {json.dumps(job['path'])}", f"from {module} import {name}"]
    return "\n".join([*lines, f"print({name}(target))"])


def _literal(value: str | float | None) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
