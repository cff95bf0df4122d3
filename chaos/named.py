"""What names add to how an attempt ends: the lookup before it, and another address that a client may choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from chaos.effect import Effect
from chaos.model import RESOLVER, Setting
from chaos.prediction import Prediction
from chaos.schedule import window


def resolved(found: Prediction, setting: Setting, told: Iterable[Effect]) -> Prediction:
    """The lookup comes first, and takes a round trip; more, where the answer is late."""
    if found.phase == "resolve" or setting.names != "dns":
        return found
    late = [effect for effect in told if effect.phase == "resolve"]
    took = max((effect.delay for effect in late), default=setting.rtt if setting.path == "routed" else 0.0)
    (low, high), (early, end) = found.elapsed, window(took)
    first = [(0.0, effect.says) for effect in late] or [(0.0, f"the client asks {RESOLVER} for the address")]
    after = [(None if at is None else at + took, what) for at, what in found.events]
    return replace(
        found,
        elapsed=(low + early, None if high is None else high + end),
        events=(*first, *after),
        connected=None if found.connected is None else found.connected + took,
    )


def chosen(found: Prediction, setting: Setting, told: Iterable[Effect]) -> Prediction:
    """The name has another address, which is well: whether and when a client tries it is its own affair."""
    told = tuple(told)
    another = setting.addresses == "both" or any(effect.alternative for effect in told)
    if not another or found.phase == "resolve":
        return found
    if found.phase != "connect":  # where the path is slow it may try both, and the faster one wins
        slowed = any(effect.meets or effect.slows for effect in told)
        return replace(found, elapsed=(0.0, found.elapsed[1]) if slowed else found.elapsed, wire=None)
    note = "the name has another address; a client that tries it, at once or in a while (RFC 8305), is connected"
    return Prediction((*found.errors, "ok"), None, (0.0, None), None, (*found.events, (None, note)))
