"""The types of the scenario language: what a fault's, a client's or an expectation's parameter may be.

A fault or a client is a frozen dataclass whose fields are annotated with these; each type parses what YAML holds
and says its own JSON Schema, so that validator and schema cannot disagree. A default is the dataclass's own
and is written already parsed:

    @dataclass(frozen=True)
    class Drop:
        \"\"\"Drop segments on their way in.\"\"\"

        at: NodeName
        segment: Segments = ("syn",)
        timeout: Duration | None = None
        from_: NodeName | None = None       # YAML key `from`: one trailing underscore is dropped, others become dashes

Import them at run time, not under TYPE_CHECKING: the annotations are evaluated. A refused value is a ValueError
whose text ends up behind `file:line:column:`.
"""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from chaos.suggest import did_you_mean

NODE_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,31}$"
SURFACED: Final = ("ok", "timeout", "eof", "hang", "no-verdict")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION: Final = r"(?:0|[1-9]\d{0,5})(?:\.\d{1,6})?(?:ms|s|m)"
_FUNCTION: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
_ERRORS: Final = (
    *SURFACED,
    *sorted(errno.errorcode.values()),
    *sorted(name for name in vars(socket) if name.startswith("EAI_")),
)

# What pytest, the kernel's tables and /proc/net/tcp call the states (include/net/tcp_states.h).
State = Literal[
    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
    "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
]  # fmt: skip
Segment = Literal["syn", "syn-ack", "ack", "data", "fin", "rst", "any"]


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
    if not isinstance(value, str) or not re.fullmatch(_DURATION, value, re.ASCII):
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


def _node_name(value: Any) -> str:
    if not isinstance(value, str) or not re.match(NODE_NAME, value) or value.endswith("\n"):
        raise ValueError(f"expected a node's name (a-z, 0-9 and -, at most 32 characters), got {brief(value)}")
    return value


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ValueError(f"expected a port from 1 to 65535, got {brief(value)}")
    return value


def _after(value: Any) -> Literal["accept", "data"] | int:
    if value == "accept":
        return "accept"
    if value == "data":
        return "data"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        near = did_you_mean(value, ("accept", "data"))
        raise ValueError(f"expected 'accept', 'data' or a number of bytes, got {brief(value)}{near}")
    return value


def _error_name(value: Any) -> str:
    if isinstance(value, str):
        if value in _ERRORS:
            return value
        if value.startswith("E") and isinstance(number := getattr(errno, value, None), int):
            return errno.errorcode[number]  # EWOULDBLOCK is EAGAIN
    raise ValueError(
        f"expected an errno name, an EAI_ name or one of {', '.join(SURFACED)}; "
        f"{brief(value)} does not exist{did_you_mean(value, _ERRORS)}"
    )


def _function(value: str) -> str:
    if not re.fullmatch(_FUNCTION, value, re.ASCII):
        raise ValueError(f"expected a function such as 'package.module:function', got {brief(value)}")
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def _one_or_list(value: Any) -> Any:
    if value == []:
        raise ValueError("must not be empty")
    return tuple(value) if isinstance(value, list) else (value,)


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


class NodeMark:
    """Marks an annotation whose value names a node: kinds.py looks it up in the topology."""


_NAME_SCHEMA: Final = {"type": "string", "pattern": NODE_NAME}
_RANGE: Final = r"^(\d{1,9}\.\.\d{0,9}|\.\.\d{1,9})$"

NodeName = Annotated[str, PlainValidator(_node_name), WithJsonSchema(_NAME_SCHEMA), NodeMark()]
Port = Annotated[int, PlainValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]
Backlog = Annotated[int, Field(ge=0, le=4096)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Duration = Annotated[
    float, PlainValidator(parse_duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$"})
]
Segments = Annotated[
    tuple[Segment, ...],
    BeforeValidator(_one_or_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(Segment.__args__)},
                {"type": "array", "items": {"enum": list(Segment.__args__)}, "minItems": 1},
            ]
        }
    ),
]
After = Annotated[
    Literal["accept", "data"] | int,
    PlainValidator(_after),
    WithJsonSchema({"anyOf": [{"enum": ["accept", "data"]}, {"type": "integer", "minimum": 1}]}),
]
TimeWindow = Annotated[
    Window,
    PlainValidator(parse_window),
    WithJsonSchema({"type": "string", "pattern": rf"^({_DURATION}\.\.({_DURATION})?|\.\.{_DURATION})$"}),
]
Count = Annotated[
    CountRange,
    PlainValidator(parse_count),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _RANGE}]}),
]
ErrorName = Annotated[str, PlainValidator(_error_name), WithJsonSchema({"enum": list(_ERRORS)})]
Regex = Annotated[str, AfterValidator(_regex), WithJsonSchema({"type": "string", "format": "regex"})]
Argument = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    WithJsonSchema({"type": ["string", "integer"]}),
]
Argv = Annotated[tuple[Argument, ...], Field(min_length=1)]
Function = Annotated[str, AfterValidator(_function), WithJsonSchema({"type": "string", "pattern": f"^{_FUNCTION}$"})]
