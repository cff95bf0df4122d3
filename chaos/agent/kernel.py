"""System calls that Python 3.11's standard library does not have, through ctypes. Errors are OSError, as in `os`."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_TIMERSLACK, PR_SET_CHILD_SUBREAPER = 1, 15, 29, 36

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17

BACKLOG = 11
"""The column of /proc/net/softnet_stat."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """unshare(2). CLONE_NEWPID concerns the children of the caller, all the rest the caller."""
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """setns(2): join the namespace of this kind (a CLONE_ flag) that `fd` refers to."""
    _checked(_libc.setns(fd, kind), f"setns({kind:#x})")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    fstype = kind.encode() if kind else None
    _checked(_libc.mount(source.encode(), target.encode(), fstype, flags, data.encode()), f"mount {kind} {target}")


def own_hostname(name: str) -> None:
    """sethostname(2), in a new UTS namespace of the caller's."""
    unshare(CLONE_NEWUTS)
    _checked(_libc.sethostname(name.encode(), len(name)), "sethostname")


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _checked(_libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def name_process(name: str) -> None:
    """Have ps(1) and top(1) show this name (PR_SET_NAME, 15 bytes at most)."""
    _checked(_libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0), f"prctl(PR_SET_NAME, {name})")


def connect(fd: int, address: bytes) -> None:
    """connect(2), once: what a signal interrupts is EINTR here, and not waited for as PEP 475 has it."""
    _checked(_libc.connect(fd, address, len(address)), "connect")


def stay_on(number: int | None = None) -> None:
    """Have this thread, and all that it starts from now on, run on one processor: the one on which it is, or of those
    that it may use the one of this number, counted round and round.

    A veth device queues what is sent by processor (net/core/dev.c, enqueue_to_backlog()), so that segments of one
    connection that leave by two of them may overtake one another.
    """
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_libc.sched_getcpu() if number is None else usable[number % len(usable)]})


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when the thread that forked it ends (PR_SET_PDEATHSIG)."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wake_on_child() -> tuple[socket.socket, socket.socket]:
    """A socket that can be read when a child has ended (SIGCHLD), for select(2); and its other end, to be kept."""
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake, woken


def reap() -> None:
    """Wait for every child that has ended, without blocking."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def checksum_in_software(interface: str) -> None:
    """Have the kernel finish TCP checksums before frames leave by this device, as a relay that copies frames needs."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        value = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", interface.encode(), ctypes.addressof(value)).ljust(40, b"\0")
        fcntl.ioctl(sock, SIOCETHTOOL, request)


def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """recvmsg(2) with descriptors (SCM_RIGHTS), which no program that is started inherits.

    socket.recv_fds() takes flags, MSG_CMSG_CLOEXEC among them, and passes none on.
    """
    data, fds, _, _ = socket.recv_fds(sock, size, most)
    for fd in fds:
        os.set_inheritable(fd, False)
    return data, fds


def read_file(path: str) -> bytes:
    """All of a file of /proc, at the least cost."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 15):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts)


def packets_waiting() -> bool:
    """Whether a processor has frames of veth pairs that it has not given to their receivers yet.

    The twelfth column of /proc/net/softnet_stat (net/core/net-procfs.c), of all processors and namespaces; older
    kernels than 5.10 have no such column.
    """
    rows = [line.split() for line in read_file("/proc/self/net/softnet_stat").splitlines()]
    return any(int(row[BACKLOG], 16) for row in rows if len(row) > BACKLOG)


def write_sysctl(name: str, value: str) -> bool:
    """Make /proc/sys/NAME (slashes, not dots) this value; whether that had to be done: not where a kernel lacks it.

    What has the value already is not written: some writes spin until they get the lock of all network namespaces
    (net/ipv6/addrconf.c, addrconf_disable_ipv6: restart_syscall()), which one that is being taken down holds for long.
    """
    try:
        fd = os.open(f"/proc/sys/{name}", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        differs = os.read(fd, 4096).split() != value.encode().split()
        if differs:
            os.pwrite(fd, value.encode(), 0)
    finally:
        os.close(fd)
    return differs


def set_sysctl(name: str, value: str) -> None:
    """The same, of one that there is and that is known to have another value."""
    fd = os.open(f"/proc/sys/{name}", os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
