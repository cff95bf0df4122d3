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
NO_DESCRIPTORS = [
    "import resource, select, time",
    "most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]",
    "resource.setrlimit(resource.RLIMIT_NOFILE, (listener.fileno() + 1, most))",
    "while select.select([listener], [], []):",
    "    try: listener.accept()",
    "    except OSError as error: print(error)  # EMFILE, again and again",
    "    time.sleep(0.1)",
]
BOTH_FAMILIES = "listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)"
ACTS = ("close", "abort", "forget", "vanish")
ECHOES = "while True: sock.sendto(*sock.recvfrom(65536))"
"""A server of datagrams."""


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
    if said["kind"] != "stream":
        return datagrams(said)
    address, family = _address(said), f"socket.{AF[family_of(said['address'])]}"
    lines = [
        "import ctypes, signal, socket, struct",
        f"listener = socket.socket({family})",
        "listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
        *([BOTH_FAMILIES] if said["address"] == "::" else []),
        f"listener.bind({address})",
        f"listener.listen({said['backlog']})",
    ]
    if said["fill"]:
        lines.append(f"fill = [socket.socket({family}) for _ in range({said['fill']})]")
        lines.append(f"for sock in fill: sock.connect({address})")
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
