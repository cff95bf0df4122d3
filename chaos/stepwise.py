"""The shortest Python program that does what the `socket` client does, step by step, for a person to type.

It holds no single quote, so that a shell's quotes can hold it (chaos/agent/connect.py is what it stands for).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.agent.dialling import UNSCOPED
from chaos.agent.endpoint import EXPERIMENT, OPTIONS

AF = {"ipv4": "AF_INET", "ipv6": "AF_INET6", "local": "AF_UNIX"}
SOCK = {"stream": "SOCK_STREAM", "datagram": "SOCK_DGRAM", "raw": "SOCK_RAW"}
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""User 0 has no more capabilities after exec than the bounding set lets it (capabilities(7))."""

LIBC = [
    "libc = ctypes.CDLL(None, use_errno=True)",
    "def connect(address):",
    "    if libc.connect(sock.fileno(), address, len(address)): print(errno.errorcode[ctypes.get_errno()])",
]


def client(job: Mapping[str, Any]) -> str:
    """The program for a job of the operation `connect`."""
    lines = ["import ctypes, errno, select, signal, socket, struct, time", *_socket(job)]
    if _is_libcs(job["steps"]):
        lines += LIBC
    for step in job["steps"]:
        ((name, argument),) = step.items()
        lines += _step(name, argument, job)
    return "\n".join(lines)


def argv(job: Mapping[str, Any]) -> list[str]:
    """The command that runs it, without privileges where the job has none."""
    return [*([] if job["privileged"] else UNPRIVILEGED), "python3", "-c", client(job)]


def _socket(job: Mapping[str, Any]) -> Iterator[str]:
    local = job["family"] == "local"
    protocol = f", {EXPERIMENT}" if job["type"] == "raw" and not local else ""
    yield f"sock = socket.socket(socket.{AF[job['family']]}, socket.{SOCK[job['type']]}{protocol})"
    for name, value in job["options"].items():
        level, number, unit = OPTIONS[name]
        packed = f'struct.pack("@ll", {int(value)}, {round(value % 1 * 1e6)})'
        scaled = packed if unit == "timeval" else round(value * 1000) if unit == "ms" else int(value)
        yield f"sock.setsockopt({level}, {number}, {scaled})  # {name}"
    if job["bind"]:
        yield f"sock.bind({_literal(job['bind'])})"
    elif local and job["type"] != "stream":
        yield 'sock.bind("")  # an address of the choice of the kernel, for the answer'
    if job["mode"] == "timeout":
        yield f"sock.settimeout({job['timeout']})"
    elif job["mode"] == "nonblocking":
        yield "sock.setblocking(False)"


def _is_libcs(steps: Sequence[Mapping[str, Any]]) -> bool:
    return any("interrupt" in step or step.get("connect") in ("other-family", "unscoped") for step in steps)


def _step(name: str, argument: Any, job: Mapping[str, Any]) -> list[str]:
    request = json.dumps(job["request"].lstrip(".").replace(job["expects"], "hello"))
    simple = {
        "send": [f'sock.sendall(b{request}.rjust({len(job["request"])}, b"."))'],
        "recv": [
            'answer = b""',
            'while b"hello" not in answer and (data := sock.recv(65536)): answer += data',
            "print(answer[-80:])",
        ],
        "hold": ["time.sleep(1)  # look meanwhile: ss -tan; ss -ltn"],
        "wait": [f"time.sleep(1)  # wait for {argument}"],
        "shutdown": ["sock.shutdown(socket.SHUT_WR)"],
        "eof": ["while sock.recv(65536): pass"],
        "interrupt": [
            "signal.signal(signal.SIGALRM, lambda *_: None)",
            f"signal.setitimer(signal.ITIMER_REAL, {argument})",
        ],
        "start": [f"print(errno.errorcode.get(sock.connect_ex({_goal(job)})))"],
    }
    return simple[name] if name in simple else _connect(argument or "target", job)


def _connect(where: str, job: Mapping[str, Any]) -> list[str]:
    if where == "itself":
        bind = [] if job["bind"] else [f"sock.bind({_literal([job['own'], 0])})"]
        return [*bind, "sock.connect(sock.getsockname())"]
    if where in ("other-family", "unscoped"):
        return [f"connect({_sockaddr(UNSCOPED if where == 'unscoped' else job['stranger'], job['port'])})"]
    if _is_libcs(job["steps"]):
        host = f'socket.gethostbyname("{job["host"]}")' if job["family"] == "ipv4" else None
        found = f'socket.getaddrinfo("{job["host"]}", 0)[0][4][0]'
        return [f"connect({_sockaddr(None, job['port'], host or found, job['family'])})"]
    if job["mode"] != "nonblocking":
        return [f"sock.connect({_goal(job)})"]
    return [
        f"print(errno.errorcode[sock.connect_ex({_goal(job)})])",
        f"print(select.select([], [sock], [], {job['timeout']}))",
        "print(errno.errorcode.get(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))",
        f"sock.settimeout({job['timeout']})",
    ]


def _goal(job: Mapping[str, Any]) -> str:
    if job["family"] == "local":
        return json.dumps(job["path"])
    return _literal([job["host"], 0 if job["type"] == "raw" else job["port"]])


def _sockaddr(address: str | None, port: int, found: str = "", family: str = "ipv4") -> str:
    """struct sockaddr_in or sockaddr_in6, as an expression; of an address, or of an expression that finds one."""
    text, six = found or f'"{address}"', ":" in address if address else family == "ipv6"
    packed = f"socket.inet_pton(socket.{'AF_INET6' if six else 'AF_INET'}, {text})"
    if six:
        return f'struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", {port}, 0, {packed}, 0)'
    return f'struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", {port}, {packed})'


def _literal(pair: Sequence[Any]) -> str:
    return f"({json.dumps(pair[0])}, {pair[1]})"
