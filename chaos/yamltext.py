"""YAML text as plain values that know their place.

PyYAML's events (from its C parser when it is there) are built into values here, because its loaders would let
through what a scenario must not say: the last of two equal keys, `!!python/object`, aliases that unfold into
gigabytes, and YAML 1.1's surprises (`no` and `on` as booleans, `1:30` as 90, `010` as 8). Here a plain scalar is
null, true, false, a decimal number or text, nothing else.

A scenario is read strictly: no anchors, aliases, tags or merge keys. A Compose file may have them (`strict=False`);
its tags are ignored, and what its aliases would unfold to is counted and bounded.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    StreamEndEvent,
)

from chaos.errors import ScenarioError
from chaos.marked import Marked
from chaos.source import Place, Source

_DEPTH: Final = 24
_VALUES: Final = 20_000
_PARSER: Final[Any] = yaml.cyaml.CParser if yaml.__with_libyaml__ else yaml.SafeLoader  # type: ignore[attr-defined]
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}", re.ASCII)
_NUMERIC: Final = "+-0123456789"
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}

Scalar = str | int | float | bool | None


def parse(source: Source, *, strict: bool = True) -> Marked:
    """The file's one document. Raises ScenarioError for a syntax error alone; notes other problems in `source`."""
    builder = _Builder(source, strict)
    try:
        parser = _PARSER(source.text)
        while not isinstance(event := parser.get_event(), StreamEndEvent):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        _syntax(source, error)
    except yaml.YAMLError as error:
        raise ScenarioError([source.problem((1, 1), f"not YAML: {error}")]) from None
    if builder.root is None:
        raise ScenarioError([source.problem((1, 1), "the file says nothing")])
    return builder.root


def _syntax(source: Source, error: yaml.MarkedYAMLError) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    line = source.lines[place[0] - 1] if place[0] <= len(source.lines) else ""
    if "\t" in line[: place[1]]:
        message, place = "a tab: YAML is indented with spaces", (place[0], line.index("\t") + 1)
    else:
        message = f"not YAML: {', '.join(filter(None, (error.context, error.problem)))}"
    raise ScenarioError([source.problem(place, message)]) from None


class _Open:
    """A mapping or a list whose end is yet to come; `key` waits for its value."""

    __slots__ = ("anchor", "key", "node")

    def __init__(self, node: Marked, anchor: str | None) -> None:
        self.node, self.anchor = node, anchor
        self.key: tuple[str, Place] | None = None


class _Builder:
    """Builds the document from events, with a stack of its own: depth costs no recursion."""

    def __init__(self, source: Source, strict: bool) -> None:
        self.source, self.strict = source, strict
        self.root: Marked | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, Marked] = {}
        self.documents = 0

    def take(self, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            self._check(event)
            place, text = _place(event), event.value
            if "\0" in text:
                self.source.complain(place, "the character NUL cannot be passed on")
            self._add(Marked(place, _scalar(event, text)), event.anchor, text)
        elif isinstance(event, CollectionStartEvent):
            self._check(event)
            if len(self.stack) >= _DEPTH:
                self._fail(event, f"nested more than {_DEPTH} levels deep")
            empty: Any = {} if isinstance(event, MappingStartEvent) else []
            self.stack.append(_Open(Marked(_place(event), empty), event.anchor))
        elif isinstance(event, CollectionEndEvent):
            done = self.stack.pop()
            self._add(done.node, done.anchor, None)
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._fail(event, "a second document begins here: one behaviour a file")

    def _check(self, event: ScalarEvent | CollectionStartEvent) -> None:
        if not self.strict:
            return
        if event.anchor:
            self.source.complain(_place(event), "anchors are not part of the language: write the value out")
        if event.tag:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.source.complain(_place(event), f"tags such as {tag} are not part of the language")

    def _alias(self, event: AliasEvent) -> None:
        node = Marked(_place(event), None)
        if self.strict:
            self.source.complain(node.place, f"the alias *{event.anchor} is not allowed: write the value out")
        elif event.anchor in self.anchors:
            node = self.anchors[event.anchor]
        else:
            self._fail(event, f"the alias *{event.anchor} has no finished anchor before it")
        self._add(node, None, f"*{event.anchor}")

    def _add(self, node: Marked, anchor: str | None, text: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        inside = top.node
        if isinstance(inside.value, list):
            inside.value.append(node)
        elif top.key is None:
            top.key = (self._key(node, text), node.place)
            return
        else:
            self._pair(inside, *top.key, node)
            top.key = None
        inside.size += node.size
        if inside.size > _VALUES:
            raise ScenarioError([self.source.problem(inside.place, f"unfolds to more than {_VALUES} values")])

    def _key(self, node: Marked, text: str | None) -> str:
        if not text or isinstance(node.value, dict | list):
            self.source.complain(node.place, "a key must be a word")
            return ""
        return text

    def _pair(self, mapping: Marked, key: str, place: Place, node: Marked) -> None:
        if key == "<<" and not self.strict:
            for base in node.value if isinstance(node.value, list) else [node]:
                if isinstance(base.value, dict):  # what stands in the mapping itself wins
                    mapping.value = {**base.value, **mapping.value}
                    mapping.keys = {**base.keys, **mapping.keys}
        elif not key:
            pass  # noted already
        elif key in mapping.value and self.strict:
            self.source.complain(place, f"`{key}` is given twice: first on line {mapping.keys[key][0]}")
        else:
            mapping.value[key], mapping.keys[key] = node, place

    def _fail(self, event: Event, message: str) -> NoReturn:
        raise ScenarioError([self.source.problem(_place(event), message)])


def _place(event: Event) -> Place:
    mark: Any = event.start_mark  # typed as if it could be None
    return mark.line + 1, mark.column + 1


def _scalar(event: ScalarEvent, text: str) -> Scalar:
    if event.style or not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
