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
ACTS = ("close", "abort", "forget")


RESOLVER = """
import json, os, time
from dnslib import A, AAAA, RCODE, RR, DNSError
from dnslib.server import BaseResolver, DNSServer
zone, answer, address = json.loads(os.environ["ZONE"]), os.environ["ANSWER"], os.environ["ADDRESS"]
class Resolver(BaseResolver):
    def resolve(self, request, handler):
        reply, name = request.reply(), str(request.q.qname).rstrip(".")
        time.sleep(float(os.environ["BY"]))
        if answer == "timeout": raise DNSError("no answer is sent")
        if answer == "truncated" and handler.protocol == "udp":
            reply.header.tc = 1
        elif answer in ("nxdomain", "servfail", "refused") or name not in zone:
            reply.header.rcode = getattr(RCODE, answer.upper() if name in zone else "NXDOMAIN")
        elif answer != "nodata":
            for each in zone[name]:
                kind, data = (28, AAAA(each)) if ":" in each else (1, A(each))
                if request.q.qtype == kind: reply.add_answer(RR(request.q.qname, kind, rdata=data, ttl=0))
        return reply
if os.environ["TCP"] == "1": DNSServer(Resolver(), address=address, tcp=True).start_thread()
DNSServer(Resolver(), address=address).start()
"""
"""A DNS server as the operation `resolver` is one (chaos/agent/resolver.py), told by variables; it needs dnslib."""


def listener(said: Mapping[str, Any]) -> str:
    """A listener as the operation `listener` starts it (chaos/agent/listener.py)."""
    address = f'("{said["address"]}", {said["port"]})'
    family = "socket.AF_INET6" if ":" in said["address"] else "socket.AF_INET"
    both = ", dualstack_ipv6=True" if said["address"] == "::" else ""
    lines = [
        "import signal, socket, struct",
        f"listener = socket.create_server({address}, family={family}, backlog={said['backlog']}{both})",
    ]
    if said["fill"]:
        lines.append(f"fill = [socket.create_connection({address}) for _ in range({said['fill']})]")
    if said["do"] == "never-accept":
        return "\n".join([*lines, "signal.pause()  # and never accept()"])
    lines += ["while True:", "    connection, peer = listener.accept()"]
    wanted = {"accept": 0, "data": 1}.get(said["after"], said["after"])
    if wanted and said["do"] in ACTS:
        lines.append(f"    connection.recv({wanted}, socket.MSG_WAITALL)")
    return "\n".join(lines + DOES[said["do"]])


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
