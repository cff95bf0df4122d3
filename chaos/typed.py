"""Plain YAML values into frozen dataclasses, by pydantic, with messages that a person can act on.

The classes stay plain dataclasses: strictness (no `"80"` for 80, no `true` for 1), closed keys and the spelling of keys
(`from_` is `from`, `max_size` is `max-size`) are put on from here. Validator and JSON Schema are the same object.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from chaos.fields import NodeMark
from chaos.ranges import brief
from chaos.suggest import did_you_mean

T = TypeVar("T")
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
_NODE_KEYS: dict[type, Mapping[str, Any]] = {}
Path = tuple[str | int, ...]
Complain = Callable[[Path, str, bool], None]
"""Told of each problem: the path to the value, the message, and whether it is about the key rather than the value."""

_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "dataclass_type": "a mapping",
}
_ENOUGH = 200
_READ = 4096
FOREIGN = frozenset({"average_size", "size_variation"})
"""Keys that are another program's words (attributes of Toxiproxy's) and stay as it writes them."""
_YES_OR_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def key_of(field: str) -> str:
    """The YAML key of a dataclass field; one in capitals is the kernel's own name of something."""
    return field if field in FOREIGN or field.isupper() else field.rstrip("_").replace("_", "-")


def adapter(cls: type) -> TypeAdapter[Any]:
    """The validator of a dataclass; it takes a list of one, since pydantic gives a configuration to containers only."""
    if cls not in _ADAPTERS:
        config = ConfigDict(extra="forbid", strict=True, alias_generator=key_of)
        _ADAPTERS[cls] = TypeAdapter(tuple[cls], config=config)  # type: ignore[valid-type]
    return _ADAPTERS[cls]


def read(cls: type[T], value: Any, complain: Complain) -> T | None:
    """The dataclass that `value` (a mapping of plain YAML values) describes, or None after complaining.

    Equal values are one and the same dataclass, which is frozen: a suite says many things again and again.
    """
    if value == {} and (default := _default(cls)):  # type: ignore[arg-type]
        return default  # type: ignore[no-any-return]
    try:
        return _read(cls, to_json([value]))  # type: ignore[no-any-return,arg-type]
    except ValidationError as error:
        for path, (message, key) in _messages(cls, value, error).items():
            complain(path, message, key)
        return None


@lru_cache(maxsize=_READ)
def _read(cls: type, text: bytes) -> Any:
    """As JSON, where pydantic's strict mode still takes a list for a tuple and a mapping for a dataclass."""
    return adapter(cls).validator.validate_json(text, strict=True)[0]


@cache
def _default(cls: type) -> Any:
    """What an empty mapping describes, unless something must be said. No validator is made for it: that takes as long
    as reading thirty files, and a suite that never names a client needs none for clients.
    """
    missing = dataclasses.MISSING
    given = (field for field in dataclasses.fields(cls) if field.init)
    needed = any(field.default is missing and field.default_factory is missing for field in given)
    return None if needed else cls()


def keys(cls: type) -> tuple[str, ...]:
    """The YAML keys that a dataclass takes."""
    return tuple(key_of(field.name) for field in dataclasses.fields(cls) if field.init)


def node_keys(cls: type) -> Mapping[str, Any]:
    """{YAML key: default} of each parameter that names nodes: one, several, or perhaps none."""
    if cls not in _NODE_KEYS:
        hints = _hints(cls)
        fields = [field for field in dataclasses.fields(cls) if _marked(hints[field.name])]
        _NODE_KEYS[cls] = {key_of(field.name): field.default for field in fields}
    return _NODE_KEYS[cls]


def _hints(cls: type) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(cls)}
    return {name: hint for name, hint in get_type_hints(cls, include_extras=True).items() if name in fields}


def _marked(hint: Any) -> bool:
    if get_origin(hint) is Annotated and any(isinstance(extra, NodeMark) for extra in hint.__metadata__):
        return True
    return get_origin(hint) is not Mapping and any(_marked(inner) for inner in get_args(hint))


def _messages(cls: type, value: Any, error: ValidationError) -> dict[Path, tuple[str, bool]]:
    """One message for each place; the members of a union that failed there are joined by `or`."""
    found: dict[Path, tuple[str, bool]] = {}
    for detail in error.errors(include_url=False)[:_ENOUGH]:
        path, missing = _path(value, detail["loc"][1:])
        kind = detail["type"]
        if kind == "missing":
            found[(*path, missing)] = (f"`{missing}` is missing", False)
        elif kind == "unexpected_keyword_argument":
            known = keys(_class_at(cls, path[:-1]))
            near = did_you_mean(path[-1], known) or f"; known: {', '.join(known)}"
            found[path] = (f"unknown key `{path[-1]}`{near}", True)
        else:
            message, key = _message(detail), detail["loc"][-1] == "[key]"
            before = found.get(path, ("", False))[0]
            if before.startswith("expected ") and message.startswith("expected "):
                message = f"{before.partition(', got ')[0]} or {message.removeprefix('expected ')}"
            found[path] = (message, key)
    return found


def _path(value: Any, location: tuple[str | int, ...]) -> tuple[Path, str]:
    """The part of pydantic's location that is in the value (it also names members of unions), and its last step."""
    path: list[str | int] = []
    for step in location:
        there = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if step in there:
            path.append(step)
            value = value[step]
    return tuple(path), str(location[-1]) if location else ""


def _message(detail: Any) -> str:
    kind, given = detail["type"], detail["input"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        return f"expected {_either(known)}, got {brief(given)}{did_you_mean(given, known)}"
    if kind in _EXPECTED:
        meant = _YES_OR_NO.get(str(given).lower()) if kind == "bool_type" else None
        return f"expected {_EXPECTED[kind]}, got {brief(given)}" + (f" (did you mean '{meant}'?)" if meant else "")
    if kind == "string_pattern_mismatch":
        return f"expected text that matches {detail['ctx']['pattern']}, got {brief(given)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    text = re.sub(r"^(Input|Value|String|Tuple|List|Data) should ", "should ", detail["msg"])
    return f"{text[0].lower()}{text[1:]}, got {brief(given)}"


def _either(words: list[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _class_at(cls: type, path: Path) -> type:
    """The dataclass that describes the value at `path` below one of `cls`."""
    for step in path:
        hints = {key_of(name): hint for name, hint in _hints(cls).items()}
        if inner := _dataclass_in(hints.get(str(step))):
            cls = inner
    return cls


def _dataclass_in(hint: Any) -> type | None:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    return next(filter(None, (_dataclass_in(inner) for inner in get_args(hint))), None)
