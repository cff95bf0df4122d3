"""The control socket: how `shell` and `down` find the lab that `up` keeps running for the same user.

It is `up.sock` in a folder of the user's own: `$XDG_RUNTIME_DIR/connect-chaos`, or `/tmp/connect-chaos-UID`, mode 0700,
its owner checked. Who holds the folder's lock (flock(2), which ends with its process) owns the socket; a socket whose
owner has died refuses and is removed. One message (SOCK_SEQPACKET) is one JSON object; descriptors may come along.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from chaos.errors import LabError

LONGEST: Final = 1 << 20
NO_LAB: Final = "no lab is running: start one with `connect-chaos up`"


def folder() -> Path:
    """Where the socket is; it need not exist."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    with contextlib.suppress(OSError):
        if runtime.is_absolute() and runtime.stat().st_uid == os.geteuid():
            return runtime / "connect-chaos"
    return Path(f"/tmp/connect-chaos-{os.geteuid()}")


@contextmanager
def listening() -> Iterator[socket.socket]:
    """The control socket of this user, ours alone until the end. Raises LabError when a lab is up already."""
    there = folder()
    lock = _locked(there)
    if lock is None:
        raise LabError("a lab is up already: end it with `connect-chaos down`, or open `connect-chaos shell`")
    path = there / "up.sock"
    try:
        path.unlink(missing_ok=True)  # its owner has died: the lock was free
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.bind(str(path))
            sock.listen()
            yield sock
    except OSError as error:
        raise LabError(f"the control socket {path}: {error}") from error
    finally:
        _remove(path)
        os.close(lock)


def connect() -> socket.socket:
    """A connection to the lab that is up. Raises LabError when there is none; what a dead one left is removed."""
    path = folder() / "up.sock"
    try:
        _check(path.parent)
    except FileNotFoundError:
        raise LabError(NO_LAB) from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        lock = _locked(path.parent)
        if lock is not None:
            _remove(path)
            os.close(lock)
        raise LabError(NO_LAB) from None
    except OSError as error:
        sock.close()
        raise LabError(f"the control socket {path}: {error}") from error
    return sock


def say(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message. Raises LabError when nobody is there any more."""
    try:
        socket.send_fds(sock, [json.dumps(message).encode()], fds)
    except OSError as error:
        raise LabError(f"the lab cannot be told: {error}") from error


def heard(sock: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and the descriptors that came with it, which are ours to close; None when the other has gone."""
    try:
        data, fds, _, _ = socket.recv_fds(sock, LONGEST, 3)
    except ConnectionResetError:
        return None, []
    try:
        message = json.loads(data)
    except ValueError:
        message = None  # also at the end of the stream
    return (message if isinstance(message, dict) else None), fds


def _locked(there: Path) -> int | None:
    """The folder's lock, as a descriptor; None when somebody has it. The folder is made if need be."""
    while True:
        try:
            there.mkdir(mode=0o700, exist_ok=True)
            _check(there)
            lock = os.open(there, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # its last owner has just removed it
        except OSError as error:
            raise LabError(f"the control socket's folder {there}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), there.lstat()):
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass
        os.close(lock)  # it was removed between our opening and our lock


def _check(there: Path) -> None:
    """The folder is ours alone, or LabError."""
    state = there.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise LabError(f"{there}: must be a folder of your own with mode 0700; remove it, or set XDG_RUNTIME_DIR")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
