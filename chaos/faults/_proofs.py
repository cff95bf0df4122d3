"""Why the wire does not prove that a toxic acted: one function for each type of toxic (Toxiproxy 2.12, toxics/*.go).

Toxiproxy leaves no evidence of its own but its counters of bytes. What it holds back when the attempt ends has not come
out at all, which is proof enough that it was held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chaos.faults._stream import Stream
from chaos.packets import Packet

NOTHING_IN = "no data reached Toxiproxy in this direction"
SLACK = 0.9
"""Of the time that a rate asks for: Toxiproxy takes its own lateness off the next sleep."""

Attributes = Mapping[str, int]
"""As sent: milliseconds, but microseconds for the slicer's delay; bytes; rate in KB/s of 1000 bytes."""


def latency(seen: Stream, wanted: Attributes) -> str | None:
    """The first data left as much later as it had to."""
    if not seen.entered:
        return NOTHING_IN
    return _early("data", seen.entered[0], seen.left, wanted["latency"] - wanted["jitter"])


def bandwidth(seen: Stream, wanted: Attributes) -> str | None:
    """What left took the time that the rate gives it."""
    if not seen.entered:
        return NOTHING_IN
    return _early("the last data", seen.entered[0], seen.left[-1:], SLACK * seen.bytes_out / wanted["rate"])


def slow_close(seen: Stream, wanted: Attributes) -> str | None:
    """The FIN left as much later as it had to."""
    if not seen.closed_in:
        return "nobody closed the connection in this direction"
    return _early("the FIN", seen.closed_in[0], seen.closed_out, wanted["delay"])


def timeout(seen: Stream, wanted: Attributes) -> str | None:
    """Data went in and none came out; the end came a time-out behind the last of it, or not at all."""
    if not seen.entered:
        return NOTHING_IN
    if seen.left:
        return f"{seen.bytes_out} bytes came out all the same"
    if seen.closed_out and not wanted["timeout"]:
        return "it closed the connection, which a time-out of 0 never does"
    return _early("the FIN", seen.entered[-1], seen.closed_out, wanted["timeout"])


def reset_peer(seen: Stream, wanted: Attributes) -> str | None:
    """A RST to the client, a time-out behind the first data; on an older connection it would be a FIN."""
    if not seen.entered:
        return NOTHING_IN
    if not seen.resets:
        return "no RST left Toxiproxy for its client"
    return _early("the RST", seen.entered[0], seen.resets, wanted["timeout"])


def slicer(seen: Stream, wanted: Attributes) -> str | None:
    """As many segments came out as the bytes make slices of the largest size."""
    largest = wanted["average_size"] + wanted["size_variation"]
    if seen.bytes_in <= largest:
        return f"there was nothing to slice: {seen.bytes_in} bytes are not more than {largest}"
    if len(seen.left) < -(-seen.bytes_out // largest) or any(packet.length > largest for packet in seen.left):
        return f"{seen.bytes_out} bytes left in {len(seen.left)} segments, the largest of which has more than {largest}"
    return None


def limit_data(seen: Stream, wanted: Attributes) -> str | None:
    """Exactly the limit came out, and the end behind it."""
    if seen.bytes_in < wanted["bytes"]:
        return f"the limit was not reached: {seen.bytes_in} of {wanted['bytes']} bytes"
    if seen.bytes_out != wanted["bytes"]:
        return f"{seen.bytes_out} bytes came out, and not {wanted['bytes']}"
    return None if seen.closed_out else "no FIN came out behind them"


def _early(what: str, cause: Packet, effects: tuple[Packet, ...], wait_ms: float) -> str | None:
    """Doubt when the first effect left sooner after its cause than it may; what has not left was held."""
    if not effects:
        return None
    took = (effects[0].time_ns - cause.time_ns) / 1e6
    return f"{what} left after {took:.1f} ms, which is less than {wait_ms:g} ms" if took < wait_ms else None


OF: Mapping[str, Callable[[Stream, Attributes], str | None]] = {
    "latency": latency,
    "bandwidth": bandwidth,
    "slow_close": slow_close,
    "timeout": timeout,
    "reset_peer": reset_peer,
    "slicer": slicer,
    "limit_data": limit_data,
}
SWALLOW = ("timeout", "reset_peer", "limit_data")
"""Toxics that keep data for themselves and end the connection: Toxiproxy has received more than it sent."""
