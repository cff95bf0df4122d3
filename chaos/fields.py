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
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from chaos.ranges import DURATION, CountRange, Window, brief, parse_count, parse_duration, parse_window
from chaos.suggest import did_you_mean

NODE_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,31}$"
SURFACED: Final = ("ok", "timeout", "eof", "hang", "no-verdict")
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


def _node_name(value: Any) -> str:
    if not isinstance(value, str) or not re.match(NODE_NAME, value) or value.endswith("\n"):
        raise ValueError(f"expected a node's name (a-z, 0-9 and -, at most 32 characters), got {brief(value)}")
    return value


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ValueError(f"expected a port from 1 to 65535, got {brief(value)}")
    return value


def _nth(value: Any) -> CountRange:
    found = parse_count(value)
    low = max(1, found.low) if str(value).startswith("..") else found.low
    if low < 1 or (found.high is not None and found.high < low):
        raise ValueError(f"segments are counted from 1: expected 1, '1..2' or '3..', got {brief(value)}")
    return CountRange(low, found.high)


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


class NodeMark:
    """Marks an annotation whose value names a node: kinds.py looks it up in the topology."""


_NAME_SCHEMA: Final = {"type": "string", "pattern": NODE_NAME}
_RANGE: Final = r"^(\d{1,9}\.\.\d{0,9}|\.\.\d{1,9})$"

NodeName = Annotated[str, PlainValidator(_node_name), WithJsonSchema(_NAME_SCHEMA), NodeMark()]
Port = Annotated[int, PlainValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]
Backlog = Annotated[int, Field(ge=0, le=4096)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Duration = Annotated[
    float, PlainValidator(parse_duration), WithJsonSchema({"type": "string", "pattern": f"^{DURATION}$"})
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
    WithJsonSchema({"type": "string", "pattern": rf"^({DURATION}\.\.({DURATION})?|\.\.{DURATION})$"}),
]
Count = Annotated[
    CountRange,
    PlainValidator(parse_count),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _RANGE}]}),
]
Nth = Annotated[
    CountRange,
    PlainValidator(_nth),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _RANGE}]}),
]
_ALIASES: Final = tuple(sorted({name for name in vars(errno) if name.startswith("E")} - {*_ERRORS}))
"""Other names of the same numbers: EWOULDBLOCK, EOPNOTSUPP."""
ErrorName = Annotated[str, PlainValidator(_error_name), WithJsonSchema({"enum": [*_ERRORS, *_ALIASES]})]
Regex = Annotated[str, AfterValidator(_regex), WithJsonSchema({"type": "string", "format": "regex"})]
Argument = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    WithJsonSchema({"type": ["string", "integer"]}),
]
Argv = Annotated[tuple[Argument, ...], Field(min_length=1)]
Function = Annotated[str, AfterValidator(_function), WithJsonSchema({"type": "string", "pattern": f"^{_FUNCTION}$"})]
