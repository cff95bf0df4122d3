"""What is known of each kind of fault, from its own file: its docstring's fields, its parameters, what it requires.

The docstring of a fault's class is a summary, perhaps a paragraph, and four fields, each of one or more lines:

    Wire: what is seen of it. By hand: the command that does the same. Linux: what a client is told. Imitates: what
    happens so in production.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chaos import kinds
from chaos.fields import NODE_NAME
from chaos.ranges import DURATION
from chaos.schema import schema

FIELDS: Final = {
    "Wire": "On the wire",
    "By hand": "By hand",
    "Linux": "What Linux surfaces",
    "Imitates": "In production",
}
"""The fields, and what the page calls them."""
HEAD: Final = """\
# Every fault

Generated from the faults' own files by `connect-chaos faults --markdown > docs/faults.md`; a test compares the two.

What a fault must have touched to be believed is in the README. `at` is the node whose namespace is changed. What a
fault requires is probed in a node of the lab before anything is attempted; where it is absent, the case is skipped with
the reason and the mend (an error with `--chaos-strict` and in CI).
"""
_FIELD: Final = re.compile(rf"^({'|'.join(FIELDS)}): ", re.MULTILINE)
_PATTERNS: Final = {NODE_NAME: "a node", f"^{DURATION}$": "a duration such as 20ms"}


@dataclass(frozen=True)
class Parameter:
    """A key of a fault. `default` is None where it must be given, and empty where it may be left out."""

    key: str
    values: str
    default: str | None


@dataclass(frozen=True)
class Entry:
    """A kind of fault. `told` has the docstring's fields that are there."""

    kind: str
    summary: str
    more: str
    told: Mapping[str, str]
    parameters: Sequence[Parameter]
    requires: Sequence[str]


def entries(faults: Mapping[str, type] | None = None) -> list[Entry]:
    """Every kind of fault, or those given."""
    known = kinds.faults() if faults is None else faults
    definitions = schema(faults=known)["definitions"]
    return [_entry(kind, cls, definitions[f"fault-{kind}"]) for kind, cls in known.items()]


def _entry(kind: str, cls: type, shape: Mapping[str, Any]) -> Entry:
    head, *fields = _FIELD.split(inspect.getdoc(cls) or "")
    summary, _, more = head.strip().partition("\n\n")
    told = {name: " ".join(text.split()) for name, text in zip(fields[::2], fields[1::2], strict=True)}
    required = shape.get("required", ())
    parameters = [_parameter(key, it, key in required) for key, it in shape.get("properties", {}).items()]
    return Entry(kind, summary, " ".join(more.split()), told, parameters, getattr(cls, "requires", ()))


def _parameter(key: str, shape: Mapping[str, Any], required: bool) -> Parameter:
    note = f" ({shape['description']})" if "description" in shape else ""
    values = f"{' or '.join(dict.fromkeys(_values(shape)))}{note}"
    return Parameter(key, values, None if required else _default(shape.get("default")))


def _default(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _values(shape: Mapping[str, Any]) -> Iterator[str]:
    """What a JSON Schema lets through, in words."""
    if "anyOf" in shape:
        for each in shape["anyOf"]:
            yield from _values(each)
    elif "enum" in shape:
        yield ", ".join(map(str, shape["enum"]))
    elif shape["type"] == "array":
        yield "a list of them"
    elif "pattern" in shape:
        yield _PATTERNS.get(shape["pattern"], "text")
    elif shape["type"] in ("integer", "number"):
        yield _number(shape)
    elif shape["type"] != "null":
        yield {"string": "text", "boolean": "true or false"}.get(shape["type"], shape["type"])


def _number(shape: Mapping[str, Any]) -> str:
    what = "an integer" if shape["type"] == "integer" else "a number"
    low, high = shape.get("minimum", shape.get("exclusiveMinimum")), shape.get("maximum")
    ends = [f" from {low}" if low is not None else "", f" to {high}" if high is not None else ""]
    return what + "".join(ends)


def lines(entry: Entry) -> Iterator[str]:
    """One entry, for a terminal."""
    yield f"{entry.kind}: {entry.summary}"
    if entry.more:
        yield f"  {entry.more}"
    for name, text in entry.told.items():
        yield f"  {FIELDS[name]}: {text}"
    yield f"  Requires: {', '.join(entry.requires) or 'nothing'}"
    for each in entry.parameters:
        yield f"  {each.key}: {each.values}{_left_out(each)}"


def _left_out(parameter: Parameter) -> str:
    if parameter.default is None:
        return "; required"
    return f"; {parameter.default} unless given" if parameter.default else ""


def markdown(listed: Sequence[Entry]) -> str:
    """The page docs/faults.md."""
    index = ", ".join(f"[{entry.kind}](#{entry.kind})" for entry in listed)
    return "\n".join([HEAD, index, *(line for entry in listed for line in _section(entry))]) + "\n"


def _section(entry: Entry) -> Iterator[str]:
    yield from ("", f"## {entry.kind}", "", entry.summary)
    if entry.more:
        yield from ("", entry.more)
    yield from ("", "| | |", "|---|---|")
    for name, text in entry.told.items():
        yield f"| {FIELDS[name]} | {_cell(text)} |"
    yield f"| Requires | {', '.join(f'`{each}`' for each in entry.requires) or 'nothing'} |"
    yield from ("", "| parameter | value | default |", "|---|---|---|")
    for each in entry.parameters:
        default = "required" if each.default is None else f"`{each.default}`" if each.default else ""
        yield f"| `{each.key}` | {_cell(each.values)} | {default} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
