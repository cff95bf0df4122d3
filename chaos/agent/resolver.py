"""Operation `resolver`: a DNS server for the lab's names, on UDP and TCP port 53, honest or wrong in one exact way.

The messages are dnslib's, read and written; what is here is when and how they are answered. It is one loop, and not the
threads of dnslib.server, so that answers leave in the order of the questions and a late one holds up no other.

    honest      the addresses of the zone; NXDOMAIN for a name that is not in it, no data for a type that it has not
    nxdomain    NXDOMAIN (RFC 8020: there is no such name)
    nodata      NOERROR and no answer: the name is there, and has no address (RFC 2308, 2.2)
    servfail    SERVFAIL
    refused     REFUSED
    timeout     nothing at all
    truncated   over UDP the TC bit and no answer: ask again over TCP (RFC 7766)
    slow        honest, `by` seconds late
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import sys
import time
from typing import Any

from chaos.agent.serve import MISSING, Agent, OperationFailed, Pipe

PORT = 53
LARGEST = 65535
RCODES = {"nxdomain": 3, "servfail": 2, "refused": 5}
"""RFC 1035, section 4.1.1."""
TTL = 0
"""Nobody may keep an answer from one leg for the next."""


def run(agent: Agent, *, address: str, zone: dict[str, list[str]], packages: str | None) -> int:
    """Start it; returns the child's number, whose first event is {"ready": true} once it serves.

    zone: addresses of each name, in the order in which they are answered. packages: where dnslib is, if not installed.
    Told {"zone": ...} it answers {"zoned": true}; told {"behave": {"answer", "by", "tcp"}} it answers {"behaves": true}
    and has forgotten what it had still to say; told {"answered": true} it answers {"answered": n}, the questions since.
    """
    return agent.fork(lambda pipe: Server(zone, packages, pipe).serve(address))


class Server:
    """The sockets, what is to be answered when, and how."""

    def __init__(self, zone: dict[str, list[str]], packages: str | None, pipe: Pipe) -> None:
        if packages:
            sys.path.append(packages)
        try:
            import dnslib
        except ImportError as error:
            raise OperationFailed(kind=MISSING, tool=error.name or "dnslib") from None
        self._dns, self._zone, self._pipe = dnslib, zone, pipe
        self._answer, self._by, self._tcp, self._met = "honest", 0.0, True, 0
        self._due: list[tuple[float, int, bytes, tuple[socket.socket, Any]]] = []
        self._numbers = itertools.count()
        self._connections: dict[int, tuple[socket.socket, bytes]] = {}
        self._listener: socket.socket | None = None

    def serve(self, address: str) -> None:
        """Answer until the agent ends us."""
        self._address = address
        self._udp = _bound(address, socket.SOCK_DGRAM)
        self._listen()
        self._pipe.write({"ready": True})
        while True:
            for fd in self._readable():
                if fd == self._pipe.reader:
                    self._told(self._pipe.next())
                elif fd == self._udp.fileno():
                    self._datagram()
                elif self._listener is not None and fd == self._listener.fileno():
                    connection, _ = self._listener.accept()
                    self._connections[connection.fileno()] = (connection, b"")
                elif fd in self._connections:
                    self._stream(fd)
            self._send_due()

    def _readable(self) -> list[int]:
        fds = [self._pipe.reader, self._udp.fileno(), *self._connections]
        if self._listener is not None:
            fds.append(self._listener.fileno())
        wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
        return select.select(fds, [], [], wait)[0]

    # -- what the host says

    def _told(self, word: dict[str, Any]) -> None:
        if "zone" in word:
            self._zone = word["zone"]
            self._pipe.write({"zoned": True})
        elif "behave" in word:
            self._behave(**word["behave"])
            self._pipe.write({"behaves": True})
        else:
            self._pipe.write({"answered": self._met})

    def _behave(self, answer: str, by: float, tcp: bool) -> None:
        self._answer, self._by, self._tcp, self._met = answer, by, tcp, 0
        self._due.clear()
        for fd in list(self._connections):
            self._hang_up(fd)
        self._listen()

    def _listen(self) -> None:
        """Have the TCP listener that the behaviour has, or none."""
        if self._tcp and self._listener is None:
            self._listener = _bound(self._address, socket.SOCK_STREAM)
            self._listener.listen()
        elif not self._tcp and self._listener is not None:
            self._listener.close()
            self._listener = None

    # -- what clients ask

    def _datagram(self) -> None:
        data, peer = self._udp.recvfrom(LARGEST)
        self._ask(data, (self._udp, peer))

    def _stream(self, fd: int) -> None:
        """Questions over TCP: each with its length before it, in two bytes (RFC 1035, section 4.2.2)."""
        connection, rest = self._connections[fd]
        try:
            data = connection.recv(LARGEST)
        except OSError:
            data = b""  # the lab was quiesced
        if not data:
            self._hang_up(fd)
            return
        rest += data
        while len(rest) >= 2 and len(rest) >= (end := 2 + int.from_bytes(rest[:2], "big")):
            question, rest = rest[2:end], rest[end:]
            self._ask(question, (connection, None))
        self._connections[fd] = (connection, rest)

    def _hang_up(self, fd: int) -> None:
        connection, _ = self._connections.pop(fd)
        self._due = [due for due in self._due if due[3][0] is not connection]
        heapq.heapify(self._due)
        connection.close()

    def _ask(self, data: bytes, asker: tuple[socket.socket, Any]) -> None:
        try:
            question = self._dns.DNSRecord.parse(data)
        except self._dns.DNSError:
            return  # no question; a stranger's datagram has no answer
        self._met += 1
        answer = self._answered(question, stream=asker[1] is None)
        if answer is not None:
            due = time.monotonic() + self._by
            heapq.heappush(self._due, (due, next(self._numbers), answer.pack(), asker))

    def _answered(self, question: Any, *, stream: bool) -> Any:
        """The answer as a record of dnslib's, or None."""
        reply = question.reply()
        if self._answer == "timeout":
            return None
        if self._answer == "truncated" and not stream:
            reply.header.tc = 1
        elif self._answer in RCODES:
            reply.header.rcode = RCODES[self._answer]
        elif self._answer != "nodata":
            self._honest(question.q, reply)
        return reply

    def _honest(self, asked: Any, reply: Any) -> None:
        name = str(asked.qname).rstrip(".")
        if name not in self._zone:
            reply.header.rcode = RCODES["nxdomain"]
        for address in self._zone.get(name, ()):
            kind, data = (28, self._dns.AAAA) if ":" in address else (1, self._dns.A)
            if asked.qtype == kind:
                reply.add_answer(self._dns.RR(asked.qname, kind, rdata=data(address), ttl=TTL))

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, data, (sock, peer) = heapq.heappop(self._due)
            with contextlib.suppress(OSError):  # who asked may have gone
                if peer is None:
                    sock.sendall(len(data).to_bytes(2, "big") + data)
                else:
                    sock.sendto(data, peer)


def _bound(address: str, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, PORT))
    return sock
