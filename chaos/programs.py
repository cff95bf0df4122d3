"""The shortest Python programs that behave as our listener and our `socket` client do, for a person to type.

They hold no single quote, so that a shell's quotes can hold them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

SERVES = [
    "    try:",
    "        while data := connection.recv(65536): connection.sendall(data)",
    "    except ConnectionError: pass  # the next one is served all the same",
]
READS = [line.replace("connection.sendall(data)", "pass") for line in SERVES]
CLOSES = ["    connection.close()"]
LINGER = ['    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))']
REPAIR = ["    connection.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR"]
DOES = {
    "serve": SERVES,
    "silent": READS,
    "close": CLOSES,
    "abort": LINGER + CLOSES,
    "forget": REPAIR + CLOSES,
}
NO_DESCRIPTORS = [
    "import resource, select, time",
    "most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]",
    "resource.setrlimit(resource.RLIMIT_NOFILE, (listener.fileno() + 1, most))",
    "while select.select([listener], [], []):",
    "    try: listener.accept()",
    "    except OSError as error: print(error)  # EMFILE, again and again",
    "    time.sleep(0.1)",
]
ACTS = ("close", "abort", "forget")


def listener(said: Mapping[str, Any]) -> str:
    """A listener as the operation `listener` starts it (chaos/agent/listener.py)."""
    address = f'("{said["address"]}", {said["port"]})'
    family = "socket.AF_INET6" if ":" in said["address"] else "socket.AF_INET"
    lines = [
        "import signal, socket, struct",
        f"listener = socket.create_server({address}, family={family}, backlog={said['backlog']})",
    ]
    if said["fill"]:
        lines.append(f"fill = [socket.create_connection({address}) for _ in range({said['fill']})]")
    if said["do"] == "never-accept":
        return "\n".join([*lines, "signal.pause()  # and never accept()"])
    if said["do"] == "no-descriptors":
        return "\n".join([*lines, *NO_DESCRIPTORS])
    lines += ["while True:", "    connection, peer = listener.accept()"]
    wanted = {"accept": 0, "data": 1}.get(said["after"], said["after"])
    if wanted and said["do"] in ACTS:
        lines.append(f"    connection.recv({wanted}, socket.MSG_WAITALL)")
    return "\n".join(lines + DOES[said["do"]])


def holders(said: Mapping[str, Any]) -> str:
    """Connections that are held, as by the operation `holders`."""
    made = f'socket.create_connection(("{said["address"]}", {said["port"]}))'
    return f"import signal, socket\nheld = [{made} for _ in range({said['count']})]\nsignal.pause()"


def overflow(said: Mapping[str, Any]) -> str:
    """One connection as soon as a SYN is seen, as by the operation `overflow`."""
    at = 14 + (40 if ":" in said["address"] else 20)
    lines = [
        "import signal, socket",
        "tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
        f'tap.bind(("{said["interface"]}", 3))',
        f"while (frame := tap.recv(65536))[{at + 13}:{at + 14}] != bytes([2]): pass  # the flags of a SYN",
        f'last = socket.create_connection(("{said["address"]}", {said["port"]}))',
        "signal.pause()",
    ]
    return "\n".join(lines)


def announcement(said: Mapping[str, Any]) -> str:
    """An ARP announcement, as by the operation `announce`; arping -U does the same."""
    lines = [
        "import socket",
        "arp = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
        f'arp.bind(("{said["interface"]}", 0x0806))',
        f'mac, address = arp.getsockname()[4], socket.inet_aton("{said["address"]}")',
        'head = bytes.fromhex("ffffffffffff") + mac + bytes.fromhex("08060001080006040001")',
        "arp.send(head + mac + address + bytes(6) + address)",
    ]
    return "\n".join(lines)


def client(job: Mapping[str, Any]) -> str:
    """The `socket` client, step by step (chaos/agent/connect.py)."""
    family = "socket.AF_INET6" if job["family"] == "ipv6" else "socket.AF_INET"
    lines = ["import errno, select, socket, time", f"sock = socket.socket({family})"]
    if job["bind"]:
        lines.append(f'sock.bind(("", {job["bind"]}))')
    if job["mode"] == "timeout":
        lines.append(f"sock.settimeout({job['timeout']})")
    request = json.dumps(job["request"].lstrip(".").replace(job["expects"], "hello"))
    steps = {
        "connect": _connect(job),
        "send": [f'sock.sendall(b{request}.rjust({len(job["request"])}, b"."))'],
        "recv": [
            'answer = b""',
            'while b"hello" not in answer and (data := sock.recv(65536)): answer += data',
            "print(answer[-80:])",
        ],
        "hold": ["time.sleep(1)  # look meanwhile: ss -tan; ss -ltn"],
    }
    for step in job["steps"]:
        waits = [f"time.sleep(1)  # wait for {step['wait']}"] if isinstance(step, dict) else []
        lines += waits or steps[step]
    return "\n".join(lines)


def _connect(job: Mapping[str, Any]) -> list[str]:
    goal = f'("{job["host"]}", {job["port"]})'
    if job["mode"] != "nonblocking":
        return [f"sock.connect({goal})"]
    return [
        "sock.setblocking(False)",
        f"print(errno.errorcode[sock.connect_ex({goal})])",
        f"print(select.select([], [sock], [], {job['timeout']}))",
        "print(errno.errorcode.get(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))",
        f"sock.settimeout({job['timeout']})",
    ]


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
