"""`timing: compressed`: the kernel's own, unmodified schedule of retransmissions, with every interval scaled.

The kernel asks BPF programs on a socket's cgroup for the first retransmission timeout of each SYN and SYN-ACK
(BPF_SOCK_OPS_TIMEOUT_INIT; tcp_timeout_init() of include/net/tcp.h), takes 1 s when none answers, and derives all later
intervals from it. Our program answers for the network namespaces in its map alone. It says nothing for others,
so no socket of the host is touched although they share the cgroup.

The unit is counted in jiffies, the kernel's clock tick. A timer of n jiffies fires at the tick after them, so a
few more of them keep the shape and cost time: UNIT is the compromise, 131 s in about 1.1.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from chaos.backends import bpf
from chaos.errors import ToolMissing

CLOCK_MONOTONIC_COARSE = 6
JIFFY = time.clock_getres(CLOCK_MONOTONIC_COARSE)
"""Seconds between two ticks, 1/HZ: the coarse clock moves once a tick, and clock_getres(2) needs no privilege."""
UNIT = max(1, round(0.008 / JIFFY))
"""The first retransmission timeout in jiffies: 8 ms, where a tick is not longer."""
NAMESPACES = 16_384
"""How many namespaces may be compressed at once."""

NAME = "connect_chaos"
TIMEOUT_INIT = 1
OP, REPLY = 0, 4
"""Offsets in struct bpf_sock_ops."""


def _program(cookies: int) -> list[bytes]:
    """`if (op == TIMEOUT_INIT && (unit = lookup(cookies, netns_cookie))) reply = *unit; return 1;` as instructions."""
    of = bpf.instruction
    return [
        of(0xBF, to=6, source=1),  # r6 = ctx
        of(0x61, to=2, source=1, offset=OP),  # r2 = ctx->op
        of(0x55, to=2, offset=10, value=TIMEOUT_INIT),  # if r2 != TIMEOUT_INIT goto out
        of(0x85, value=122),  # r0 = bpf_get_netns_cookie(ctx)
        of(0x7B, to=10, source=0, offset=-8),  # *(u64 *)(fp - 8) = r0
        of(0x18, to=1, source=1, value=cookies),  # r1 = the map, which takes two instructions
        of(0x00),
        of(0xBF, to=2, source=10),  # r2 = fp
        of(0x07, to=2, value=-8),  # r2 -= 8
        of(0x85, value=1),  # r0 = bpf_map_lookup_elem(r1, r2)
        of(0x15, to=0, offset=2, value=0),  # if r0 == NULL goto out
        of(0x61, to=1, source=0),  # r1 = *(u32 *)r0
        of(0x63, to=6, source=1, offset=REPLY),  # ctx->reply = r1
        of(0xB7, to=0, value=1),  # out: r0 = 1, the verdict that lets things be
        of(0x95),  # exit
    ]


class Compression:
    """The program on our own cgroup, in which all processes that we start are. Thread-safe.

    With `top`, on the cgroup above all, for containers are started by an engine; it answers for known cookies only.
    """

    def __init__(self, *, top: bool = False) -> None:
        self._top = top
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._cookies: int | None = None
        self.link: int | None = None

    def attach(self) -> None:
        """Attach it unless it is attached; raises ToolMissing where the kernel does not let us."""
        with self._lock, ExitStack() as undo:
            if self.link is not None:
                return
            try:
                folder = top_cgroup() if self._top else own_cgroup()
                cgroup = _closing(undo, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                cookies = _closing(undo, bpf.hash_map(8, 4, NAMESPACES, NAME))
                program = _closing(undo, bpf.load_sock_ops(_program(cookies), NAME))
                self.link = _closing(undo, bpf.attach(program, cgroup))
            except OSError as error:
                raise unavailable(error.strerror or str(error)) from error
            self._cookies, self._held = cookies, undo.pop_all()

    def close(self) -> None:
        """Detach it: the kernel does so when the link's only descriptor closes."""
        with self._lock:
            self._cookies = self.link = None
            self._held.close()

    @contextmanager
    def of(self, cookies: Iterable[int]) -> Iterator[None]:
        """Scale the timeouts of the namespaces with these cookies. Raises OSError when there are too many."""
        with ExitStack() as undo:
            for cookie in cookies:
                undo.callback(self._set, cookie, None)
                self._set(cookie, UNIT)
            yield

    def _set(self, cookie: int, unit: int | None) -> None:
        """Answer for this namespace with a number of jiffies, or no more."""
        key = cookie.to_bytes(8, sys.byteorder)
        with self._lock:
            if self._cookies is None:
                return  # detached before the last lab ended: nobody is answered for
            if unit is not None:
                bpf.update(self._cookies, key, unit.to_bytes(4, sys.byteorder))
            else:
                with suppress(FileNotFoundError):
                    bpf.delete(self._cookies, key)


def _closing(undo: ExitStack, fd: int) -> int:
    undo.callback(os.close, fd)
    return fd


def unavailable(why: str) -> ToolMissing:
    """Why time cannot be compressed here, and what would help."""
    return ToolMissing("timing: compressed", "run as root on a host with cgroup v2 and Linux 5.15 or later", why)


def own_cgroup() -> Path:
    """The folder of this process's cgroup v2 (cgroups(7)); raises ToolMissing where there is none to see."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if path is None:
        raise unavailable("this process is in no cgroup of version 2")
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, filesystem = line.partition(" - ")
        root, point = map(_unescaped, mount.split()[3:5])
        if filesystem.startswith("cgroup2 ") and Path(path).is_relative_to(root):
            return Path(point) / Path(path).relative_to(root)
    raise unavailable("the file system cgroup2 is not mounted where this process's cgroup could be seen")


def top_cgroup() -> Path:
    """The folder of the cgroup v2 above all that this process can see."""
    folder = own_cgroup()
    while (folder.parent / "cgroup.procs").exists():
        folder = folder.parent
    return folder


def _unescaped(path: str) -> str:
    """A path of /proc/self/mountinfo, where blanks are octal."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
