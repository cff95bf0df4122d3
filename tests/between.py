"""A relay between a session and the engine: over another address, with TLS, and one that can go."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path


def at(path: str) -> socket.socket:
    """A socket that listens at a path."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(64)
    return sock


def on_loopback() -> socket.socket:
    """A socket that listens on 127.0.0.1, on a port that the kernel chose."""
    return socket.create_server(("127.0.0.1", 0), backlog=64)


class Between:
    """Whoever connects to a socket of ours is connected to the engine; when the relay goes, the engine has died.

    `engine`: its address, unix://. `tls`: what we speak with who connects, and the engine does not.
    """

    def __init__(self, listening: socket.socket, engine: str, tls: ssl.SSLContext | None = None) -> None:
        self._ends: list[socket.socket] = []
        self._listening, self._tls = listening, tls
        self._engine = engine.removeprefix("unix://")
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                threading.Thread(target=self._relay, args=(accepted,), daemon=True).start()

    def _relay(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            ours = self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted
            theirs = socket.socket(socket.AF_UNIX)
            theirs.connect(self._engine)
            self._ends += [ours, theirs]
            for source, sink in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def die(self) -> None:
        """Nobody listens any more, and every connection ends."""
        for one in (self._listening, *self._ends):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def certificates(folder: Path) -> ssl.SSLContext:
    """Files as DOCKER_CERT_PATH wants them (ca.pem, cert.pem, key.pem), and who accepts these, and nobody else.

    One certificate is its own authority, the server's and the client's.
    """
    key, cert = folder / "key.pem", folder / "cert.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=engine"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    (folder / "ca.pem").write_bytes(cert.read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(cert))
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
