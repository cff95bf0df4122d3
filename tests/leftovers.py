"""A detector of what a dead session may have left: processes, the namespaces that they were in, mounts, interfaces.

A session's programs carry a mark in their environment (/proc/PID/environ), which forks and programs inherit, so they
are found wherever they were reparented to. A namespace lives as long as a process is in it, a descriptor refers to it
or a mount holds it: each of the three is looked for. A zombie is not a process of ours: it has ended, and waits for
whatever init the machine has to take note (here and there only every other second). Nothing is ever killed here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

MARK = "CHAOS_TEST_SESSION"
LOOK = 0.0005
"""Seconds between two looks at the processes that are to end; a look at all of the machine's takes longer."""
KINDS = ("net", "pid", "mnt", "user", "uts")
VOLATILE = ("nf_conntrack_count",)
LIVES = re.compile(r'"(valid|preferred)_life_time":\d+,?')


@dataclass(frozen=True)
class Found:
    """What carries a mark: processes by pid with their command lines, and their namespaces as `net:[4026532]`.

    holders: (pid, start time, namespace) of every process at all that is in one of them or has a descriptor of it.
    """

    processes: Mapping[int, str] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    holders: frozenset[tuple[int, bytes, str]] = frozenset()


def marked(mark: str) -> Found:
    """All processes with the mark, and the namespaces that they are in and this process is not."""
    ours = {_namespace("self", kind) for kind in KINDS}
    processes, namespaces = {}, set()
    wanted = f"{MARK}={mark}".encode()
    for pid in _numbers():
        environ = _read(f"/proc/{pid}/environ")
        if wanted in environ and wanted in environ.split(b"\0") and _started(pid) is not None:
            processes[pid] = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode()[:80]
            namespaces |= {_namespace(str(pid), kind) for kind in KINDS} - ours
    namespaces -= {""}
    holders = list(_holders(namespaces))
    still = {_namespace(str(pid), kind) for pid in processes for kind in KINDS}  # the others' numbers may be another's
    return Found(processes, frozenset(namespaces), frozenset(holder for holder in holders if holder[2] in still))


def left(mark: str, before: Found) -> list[str]:
    """What there is of a session that should be gone: its processes, and whoever held its namespaces and still does.

    The number of a namespace that has ended is given to another one at once, so that a number alone proves nothing:
    a holder counts when it held the namespace before.
    """
    found = [f"process {pid}: {argv}" for pid, argv in marked(mark).processes.items()]
    suspects = {pid for pid, _, _ in before.holders}
    still = sorted(before.holders & frozenset(_holders(before.namespaces, suspects)))
    found += [f"namespace {name} held by process {pid}" for pid, _, name in still]
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return found + [f"namespace {name} held by a mount" for name in sorted(before.namespaces) if name in mounts]


def _holders(names: Collection[str], suspects: Collection[int] | None = None) -> Iterator[tuple[int, bytes, str]]:
    for pid in (_numbers() if suspects is None else suspects) if names else ():
        started = _started(pid)
        if started is not None:
            held = {_namespace(str(pid), kind) for kind in KINDS} | set(_descriptors(pid))
            yield from ((pid, started, name) for name in held.intersection(names))


def gone_after(mark: str, before: Found, patience: float) -> tuple[float, list[str]]:
    """Seconds until nothing is left, looked for all the time; and what is left when patience ends.

    The whole machine is looked over when those that were there have ended: it takes the time in which they would end.
    """
    started = time.monotonic()
    known = {(pid, begun) for pid in before.processes if (begun := _started(pid)) is not None}
    while time.monotonic() - started <= patience and any(_started(pid) == begun for pid, begun in known):
        time.sleep(LOOK)
    while True:
        passed, remaining = time.monotonic() - started, left(mark, before)
        if not remaining or passed > patience:
            return passed, remaining


def _numbers() -> list[int]:
    """Every process."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _started(pid: int) -> bytes | None:
    """When a process started; None when it has ended, or there is none (proc(5): states Z and X, field 22)."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[19] if fields and fields[0] not in (b"Z", b"X") else None


def _read(path: str) -> bytes:
    """A file of proc(5); nothing, if it is not there or not ours to read."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        return file.readall() or b""
    return b""


def _namespace(pid: str, kind: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    return ""


def _descriptors(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if target.partition(":")[0] in KINDS:
                    yield target


# -- the host


def host() -> dict[str, str]:
    """The network and the mounts of this process's namespaces, as text: byte-identical means equal."""
    return {name: read() for name, read in _READERS.items()}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What is not as it was, with its first line that differs."""
    found = []
    for name in before:
        if before[name] != after[name]:
            pairs = zip_longest(before[name].splitlines(), after[name].splitlines())
            found.append(f"{name}: {next((pair for pair in pairs if pair[0] != pair[1]), 'the line ends')}")
    return found


def _ip(*arguments: str) -> Callable[[], str]:
    """One object a line, without the lifetimes of addresses, which run down by themselves."""
    return lambda: LIVES.sub("", _output("ip", "-json", *arguments)).replace("},{", "},\n{")


def _output(*argv: str) -> str:
    if shutil.which(argv[0]) is None:
        return f"{argv[0]} is not there"
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return re.sub(r"(?m)^#.*\n|\[\d+:\d+\]", "", done.stdout) + done.stderr


def sysctls() -> str:
    """Every readable file under /proc/sys/net, one a line; those that count by themselves are left out."""
    lines = []
    for folder, _, names in os.walk("/proc/sys/net"):
        for name in names:
            path = f"{folder}/{name}"
            if name not in VOLATILE:
                with contextlib.suppress(OSError):
                    lines.append(f"{path} {Path(path).read_bytes()!r}")
    return "\n".join(sorted(lines))


_READERS: dict[str, Callable[[], str]] = {
    "links": _ip("link", "show"),
    "addresses": _ip("address", "show"),
    "routes": _ip("-4", "route", "show", "table", "all"),
    "routes of IPv6": _ip("-6", "route", "show", "table", "all"),
    "rules": _ip("-4", "rule", "show"),
    "rules of IPv6": _ip("-6", "rule", "show"),
    "iptables": lambda: _output("iptables-save"),
    "ip6tables": lambda: _output("ip6tables-save"),
    "named namespaces": lambda: _output("ip", "netns", "list"),
    "sysctls": sysctls,
    "mounts": lambda: Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
}
