"""Durations, windows of time and ranges of counts: what they are and how a scenario writes them.

Nothing here but the standard library, so that what only compares need not import the language's types (fields.py).
A refused value is a ValueError whose text ends up behind `file:line:column:`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
DURATION: Final = r"(?:0|[1-9]\d{0,5})(?:\.\d{1,6})?(?:ms|s|m)"
"""A duration, as a regular expression."""


@dataclass(frozen=True)
class Window:
    """A span of time, both ends included; None is an open end."""

    low: float | None
    high: float | None

    def __contains__(self, seconds: float) -> bool:
        return (self.low is None or seconds >= self.low) and (self.high is None or seconds <= self.high)

    def __str__(self) -> str:
        return "..".join("" if end is None else _shown(end) for end in (self.low, self.high))


@dataclass(frozen=True)
class CountRange:
    """How often something may happen, both ends included; no `high` is no upper end."""

    low: int
    high: int | None

    def __contains__(self, count: int) -> bool:
        return count >= self.low and (self.high is None or count <= self.high)

    def __str__(self) -> str:
        if self.low == self.high:
            return str(self.low)
        return f"{self.low}..{'' if self.high is None else self.high}"


def parse_duration(value: Any) -> float:
    """`500ms`, `1.5s` or `1m` in seconds."""
    if not isinstance(value, str) or not re.fullmatch(DURATION, value, re.ASCII):
        raise ValueError(f"expected a duration such as '500ms', '2s' or '1m', got {brief(value)}")
    number = value.rstrip("ms")
    return float(number) * _UNITS[value[len(number) :]]


def parse_window(value: Any) -> Window:
    """`200ms..`, `..500ms` or `2.9s..3.5s`."""
    low, dots, high = value.partition("..") if isinstance(value, str) else ("", "", "")
    if not dots or not (low or high):
        raise ValueError(f"expected a window such as '200ms..', '..500ms' or '2.9s..3.5s', got {brief(value)}")
    window = Window(parse_duration(low) if low else None, parse_duration(high) if high else None)
    if window.low is not None and window.high is not None and window.high < window.low:
        raise ValueError(f"the window '{value}' ends before it begins")
    return window


def parse_count(value: Any) -> CountRange:
    """`3`, `1..`, `1..3` or `..2`."""
    match = re.fullmatch(r"(-?\d{1,9})|(\d{0,9})\.\.(\d{0,9})", str(value), re.ASCII)
    if isinstance(value, bool) or not isinstance(value, int | str) or not match or value == "..":
        raise ValueError(f"expected a count such as 3, '1..', '1..3' or '..2', got {brief(value)}")
    if match[1]:
        return CountRange(int(match[1]), int(match[1]))
    found = CountRange(int(match[2] or 0), int(match[3]) if match[3] else None)
    if found.high is not None and found.high < found.low:
        raise ValueError(f"the range '{value}' ends before it begins")
    return found


def brief(value: Any) -> str:
    """How a message shows a value."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:47]}..."


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"
