"""cgroup2 and BPF: may we load a program that answers for the kernel's timers (BPF_PROG_TYPE_SOCK_OPS)?

It is loaded, attached to nothing, and gone with its descriptor. See bpf(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path
from typing import Final

from chaos.errors import LabError
from chaos.probes.probe import Probe, tried

SYSCALLS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
PROG_LOAD, SOCK_OPS, CGROUP_SOCK_OPS = 5, 13, 3
RETURN_1: Final = bytes.fromhex("b700000001000000 9500000000000000")
"""r0 = 1; exit."""


def probe() -> Probe:
    """For `timing: compressed`; everything else does without."""
    return tried(
        "cgroup2 and BPF", _load, "run as root, with cgroup2 mounted: sudo mount -t cgroup2 none /sys/fs/cgroup/unified"
    )


def _load() -> str:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mounts = [words[1] for words in lines if words[2] == "cgroup2"]
    if not mounts:
        raise LabError("cgroup2 is not mounted")
    number = SYSCALLS.get(platform.machine())
    if number is None:
        raise LabError(f"the number of bpf(2) on {platform.machine()} is not known here")
    program, licence = ctypes.create_string_buffer(RETURN_1), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(SOCK_OPS, len(RETURN_1) // 8, ctypes.addressof(program), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0, b"", 0, CGROUP_SOCK_OPS),
    )
    fd = ctypes.CDLL(None, use_errno=True).syscall(number, PROG_LOAD, attributes, len(attributes))
    if fd < 0:
        raise LabError(f"bpf(2): {os.strerror(ctypes.get_errno())}")
    os.close(fd)
    return f"a sock_ops program was loaded; cgroup2 is at {mounts[0]}"
