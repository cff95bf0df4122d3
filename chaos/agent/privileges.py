"""A process without privileges, for a while: its effective capabilities dropped (capabilities(7), capget(2)).

It works for root and in a user namespace alike, where no second user is mapped to become. A process that has user 0
and no capability may open no raw socket and passes no file's permissions by.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def dropped() -> Iterator[None]:
    """No effective capability inside; those that there were come back, for they are still permitted."""
    header, data = _Header(VERSION_3, 0), (_Data * 2)()
    _checked(_libc.capget(ctypes.byref(header), data), "capget")
    had = [half.effective for half in data]
    _set_effective(header, data, [0, 0])
    try:
        yield
    finally:
        _set_effective(header, data, had)


def _set_effective(header: _Header, data: ctypes.Array[_Data], effective: list[int]) -> None:
    for half, value in zip(data, effective, strict=True):
        half.effective = value
    _checked(_libc.capset(ctypes.byref(header), data), "capset")


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
