"""The variants of a scenario: the file itself, or each of its `cases` laid over the file's client and expectation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from chaos.marked import Marked
from chaos.scenario.language import CASE_NAME, Expect
from chaos.scenario.parts import ClientPart, Parts
from chaos.source import Place
from chaos.suggest import did_you_mean


class Variant(NamedTuple):
    """A client and what is expected of it. `expected` is where the expectation stands, `place` the variant."""

    name: str
    place: Place
    client: ClientPart
    expect: Expect
    expected: Marked


def variants(parts: Parts, root: Marked) -> Iterator[Variant]:
    """Every variant that could be read; what is wrong with the others is noted."""
    cases = root.get("cases")
    if cases is None:
        bodies = {"default": root}
    elif isinstance(cases.value, dict) and cases.value:
        bodies = {name: _body(parts, name, cases) for name in cases.value}
    else:
        parts.source.complain(cases.place, "expected a mapping of names to variants")
        return
    for name, body in bodies.items():
        place = cases.keys[name] if cases else root.place
        if variant := _variant(parts, name, place, body, root):
            yield variant


def _body(parts: Parts, name: str, cases: Marked) -> Marked:
    """What a case overrides; an empty one overrides nothing."""
    place, body = cases.keys[name], cases.get(name) or cases
    if not re.fullmatch(CASE_NAME, name):
        parts.source.complain(place, f"'{name[:70]}': a case's name is letters, digits, '.', '_' and '-'")
    if not isinstance(body.value, dict):
        if body.value is not None:
            parts.source.complain(body.place, "expected a mapping with `client` or `expect`")
        return Marked(place, {})
    for key in body.value.keys() - {"client", "expect"}:
        near = did_you_mean(key, ("client", "expect")) or "; known: client, expect"
        parts.source.complain(body.keys[key], f"unknown key `{key}`{near}")
    return body


def _variant(parts: Parts, name: str, place: Place, body: Marked, root: Marked) -> Variant | None:
    client = parts.client(body.get("client") or root.get("client") or Marked(place, {}))
    expected = _laid(body.get("expect"), root.get("expect"))
    if expected is None:
        parts.source.complain(place, "`expect` is missing: what must the client surface?")
        return None
    expected = _by_node(expected, client.client.node if client else "client")
    _name_nodes(parts, expected)
    expect = parts.read(Expect, expected)
    if expect == Expect():
        parts.source.complain(expected.place, "this expects nothing: say at least `error`")
    return Variant(name, place, client, expect, expected) if client and expect else None


def _laid(above: Marked | None, below: Marked | None) -> Marked | None:
    """A case's expectation over the file's, key by key, and those of `surfaces` as well."""
    if above and below and isinstance(above.value, dict) and isinstance(below.value, dict):
        return above.over(below, ("surfaces",))
    return above or below


def _by_node(expected: Marked, client: str) -> Marked:
    """A plain list of `wire` is the conversation at the client."""
    wire = expected.get("wire")
    if wire is None or isinstance(wire.value, dict):
        return expected
    lines = Marked(wire.place, {client: wire}, {client: wire.place})
    return Marked(expected.place, {**expected.value, "wire": lines}, expected.keys)


def _name_nodes(parts: Parts, expected: Marked) -> None:
    for key in ("wire", "states", "queues", "kernel"):
        by_node = expected.get(key)
        for name in by_node.value if by_node and isinstance(by_node.value, dict) else ():
            parts.node((key, name), expected, key=True, router=True)
    parts.node(("accepted", "peer"), expected)
