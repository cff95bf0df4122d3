"""May this user, and may an ordinary one, make the namespaces of a lab?

Ubuntu 24.04 lets an ordinary user make a user namespace and then allows nothing in it, so it is used as well: a mount
and a packet socket are made in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chaos import command
from chaos.errors import LabError
from chaos.probes.probe import Probe, tried

NOBODY: Final = 65534
SYSCTLS: Final = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu 24.04
    ("kernel/unprivileged_userns_clone", "0", "1"),  # Debian, before it became 1 by default
    ("user/max_user_namespaces", "0", "15000"),
)
"""(name, the value that forbids it, the value that allows it)."""
CONTAINER: Final = "run as root; in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN"
PROGRAM: Final = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def checked(result, what):
    if result:
        raise SystemExit(what + ": " + os.strerror(ctypes.get_errno()))
uid, gid = os.getuid(), os.getgid()
checked(libc.unshare(0x10000000 | 0x00020000 | 0x20000000 | 0x40000000), "unshare(2) of user, mount, pid and net")
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    try:
        open("/proc/self/" + name, "w").write(text)
    except OSError as error:
        raise SystemExit(f"{name}: {error.strerror}")
checked(libc.mount(b"none", b"/", None, 16384 | 1 << 18, None), "mount(2) in it")
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
except OSError as error:
    raise SystemExit(f"a packet socket in it: {error.strerror}")
"""


def probes() -> Iterator[Probe]:
    """Namespaces as root and as an ordinary user; of the two, what we are is needed."""
    root = os.geteuid() == 0
    if root:
        yield tried("namespaces as root", _session, CONTAINER, needed=True)
        yield tried("namespaces unprivileged", _as_nobody, mend())
    else:
        yield Probe("namespaces as root", None, "not tried: we are not root")
        yield tried("namespaces unprivileged", _session, mend(), needed=True)


def mend(settings: Path = Path("/proc/sys")) -> str:
    """The line that allows an ordinary user namespaces of their own."""
    for name, forbids, allows in SYSCTLS:
        file = settings / name
        if file.exists() and file.read_text().strip() == forbids:
            return f"sudo sysctl -w {name.replace('/', '.')}={allows}"
    return CONTAINER


def _session() -> str:
    from chaos.backends.netns import Netns

    with Netns():
        return "a session started"


def _as_nobody() -> str:
    """A program as the user nobody; ours may be an interpreter that only root can run."""
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        try:
            command.output([python, "-I", "-S", "-c", PROGRAM], timeout=10.0, user=NOBODY)
            return f"user {NOBODY} made and used them, with {python}"
        except PermissionError:
            continue
    raise LabError(f"user {NOBODY} may not run {sys.executable}; make the virtual environment with /usr/bin/python3")
