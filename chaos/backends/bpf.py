"""bpf(2) as far as one program on a cgroup needs it, through ctypes. Errors are OSError, as in `os`.

What is made here is a file descriptor that closes on exec, and is nothing more: when its last one closes, at the latest
with our process, the kernel detaches the link and frees program and map. Nothing is pinned.
Structures: union bpf_attr and struct bpf_insn of linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

MAP_CREATE, MAP_UPDATE, MAP_DELETE, PROG_LOAD, OBJ_GET_INFO, LINK_CREATE, LINK_GET_NEXT_ID = 0, 2, 3, 5, 15, 28, 31
MAP_TYPE_HASH = 1
PROG_TYPE_SOCK_OPS, ATTACH_SOCK_OPS = 13, 3
LICENSE = b"Apache-2.0\0"
SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361}
"""The number of bpf(2), by machine (each architecture's unistd.h); all little-endian, as `instruction` is."""

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    """bpf(2): its result, and the attributes as the kernel left them."""
    number = SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = _libc.syscall(number, command, buffer, len(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn: opcode, destination and source register, offset, immediate value."""
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)


def hash_map(key_size: int, value_size: int, entries: int, name: str) -> int:
    """A new hash map's descriptor; sizes in bytes."""
    return bpf(MAP_CREATE, struct.pack("=6I16s", MAP_TYPE_HASH, key_size, value_size, entries, 0, 0, name.encode()))[0]


def update(hash_map: int, key: bytes, value: bytes) -> None:
    """Set a map's entry."""
    keys, values = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    bpf(MAP_UPDATE, struct.pack("=IxxxxQQQ", hash_map, ctypes.addressof(keys), ctypes.addressof(values), 0))


def delete(hash_map: int, key: bytes) -> None:
    """Remove a map's entry; raises FileNotFoundError when there is none."""
    keys = ctypes.create_string_buffer(key, len(key))
    bpf(MAP_DELETE, struct.pack("=IxxxxQQQ", hash_map, ctypes.addressof(keys), 0, 0))


def load_sock_ops(instructions: Sequence[bytes], name: str) -> int:
    """A program's descriptor, for the events of sockets; raises OSError when the verifier refuses it."""
    code = b"".join(instructions)
    text, license_ = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(LICENSE)
    head = struct.pack("=IIQQ", PROG_TYPE_SOCK_OPS, len(instructions), *map(ctypes.addressof, (text, license_)))
    tail = struct.pack("=IIQII16sII", 0, 0, 0, 0, 0, name.encode(), 0, ATTACH_SOCK_OPS)
    return bpf(PROG_LOAD, head + tail)[0]


def attach(program: int, cgroup: int) -> int:
    """A link's descriptor: the program acts on the cgroup, beside others' programs, until it is closed."""
    return bpf(LINK_CREATE, struct.pack("=4I", program, cgroup, ATTACH_SOCK_OPS, 0))[0]


def link_id(link: int) -> int:
    """The number by which the kernel lists a link, from struct bpf_link_info."""
    info = ctypes.create_string_buffer(64)
    bpf(OBJ_GET_INFO, struct.pack("=IIQ", link, len(info), ctypes.addressof(info)))
    return int(struct.unpack_from("=II", info.raw)[1])


def link_ids() -> list[int]:
    """The numbers of all links of this machine."""
    found = [0]
    while True:
        try:
            _, attr = bpf(LINK_GET_NEXT_ID, struct.pack("=III", found[-1], 0, 0))
        except FileNotFoundError:
            return found[1:]
        found.append(int(struct.unpack_from("=II", attr)[1]))
