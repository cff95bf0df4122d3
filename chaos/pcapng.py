"""Captures as a pcapng file, and back: one interface a node, named, times to the nanosecond.

draft-ietf-opsawg-pcapng: one Section Header Block, an Interface Description Block a node (if_name, if_tsresol 9),
an Enhanced Packet Block a frame (epb_flags says inbound or outbound), all little-endian, in order of time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chaos.packets import Frame

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC, _ETHERNET = 0x1A2B3C4D, 1
_IF_NAME, _IF_TSRESOL, _EPB_FLAGS, _USERAPPL = 2, 9, 2, 4
_INBOUND, _OUTBOUND = 1, 2


def write(path: Path, captures: Mapping[str, Sequence[Frame]]) -> None:
    """Write what each node captured. Raises OSError when the file cannot be written."""
    path.write_bytes(dumps(captures))


def dumps(captures: Mapping[str, Sequence[Frame]]) -> bytes:
    """The file's bytes; the interfaces are in the order of the mapping."""
    blocks = [_block(_SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1) + _options((_USERAPPL, b"connect-chaos")))]
    for node in captures:
        options = _options((_IF_NAME, node.encode()), (_IF_TSRESOL, b"\x09"))
        blocks.append(_block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, 0) + options))
    numbered = [(frame.time_ns, number, frame) for number, frames in enumerate(captures.values()) for frame in frames]
    blocks += [_frame(number, frame) for _, number, frame in sorted(numbered, key=lambda entry: entry[:2])]
    return b"".join(blocks)


def loads(data: bytes) -> dict[str, list[Frame]]:
    """The frames by node of a file that `dumps` made. Raises ValueError for anything else."""
    captures: dict[str, list[Frame]] = {}
    names: list[str] = []
    for kind, body in _blocks(data):
        if kind == _INTERFACE:
            names.append(_option(body[8:], _IF_NAME).decode())
            captures[names[-1]] = []
        elif kind == _PACKET:
            number, high, low, kept, length = struct.unpack_from("<IIIII", body)
            outgoing = _option(body[20 + _padded(kept) :], _EPB_FLAGS)[:1] == bytes([_OUTBOUND])
            captures[names[number]].append(Frame(high << 32 | low, outgoing, body[20 : 20 + kept], length))
    return captures


def _frame(number: int, frame: Frame) -> bytes:
    high, low = frame.time_ns >> 32, frame.time_ns & 0xFFFFFFFF
    length = max(frame.length, len(frame.data))
    head = struct.pack("<IIIII", number, high, low, len(frame.data), length)
    way = struct.pack("<I", _OUTBOUND if frame.outgoing else _INBOUND)
    return _block(_PACKET, head + _pad(frame.data) + _options((_EPB_FLAGS, way)))


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", code, len(value)) + _pad(value) for code, value in options) + b"\0\0\0\0"


def _padded(size: int) -> int:
    return (size + 3) // 4 * 4


def _pad(data: bytes) -> bytes:
    return data.ljust(_padded(len(data)), b"\0")


def _blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    if data[:4] != struct.pack("<I", _SECTION) or data[8:12] != struct.pack("<I", _MAGIC):
        raise ValueError("not a little-endian pcapng file")
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise ValueError(f"a block cut short at byte {at}")
        kind, size = struct.unpack_from("<II", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            raise ValueError(f"a block with a wrong length at byte {at}")
        yield kind, data[at + 8 : at + size - 4]
        at += size


def _option(data: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == wanted:
            return data[at + 4 : at + 4 + size]
        at += 4 + _padded(size)
    return b""
