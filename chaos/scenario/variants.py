"""The variants of a scenario: the file itself, or each of its `cases` laid over the file.

A case's expectation is laid over the file's key by key; its faults, its client and what it says of the network stand in
place of the file's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from chaos import typed
from chaos.marked import Marked
from chaos.scenario.language import CASE_NAME, Document, Expect, Overrides
from chaos.scenario.parts import ClientPart, FaultPart, Parts
from chaos.source import Place
from chaos.suggest import did_you_mean

NETWORK: Final = typed.keys(Overrides)
KEYS: Final = ("faults", "client", "expect", *NETWORK)
"""What a case may say."""


class Variant(NamedTuple):
    """Faults, a client and what is expected of it, in a network.

    root: the file with the case's own keys over it. expected: where the expectation stands, `place` the variant.
    """

    name: str
    place: Place
    root: Marked
    document: Document
    faults: tuple[FaultPart, ...]
    client: ClientPart
    expect: Expect
    expected: Marked


def variants(parts: Parts, root: Marked, document: Document) -> Iterator[Variant]:
    """Every variant that could be read; what is wrong with the others is noted."""
    cases, shared = root.get("cases"), parts.faults(root.get("faults"))
    if cases is None:
        bodies = {"default": root}
    elif isinstance(cases.value, dict) and cases.value:
        bodies = {name: _body(parts, name, cases) for name in cases.value}
    else:
        parts.source.complain(cases.place, "expected a mapping of names to variants")
        return
    for name, body in bodies.items():
        place = cases.keys[name] if cases else root.place
        faults = parts.faults(body.get("faults")) if cases and body.get("faults") else shared
        overridden = _overridden(parts, document, body, root) if cases else document
        over = body.over(root) if cases else root
        if (variant := _variant(parts, place, body, root)) and overridden:
            yield Variant(name, place, over, overridden, faults, *variant)


def _body(parts: Parts, name: str, cases: Marked) -> Marked:
    """What a case overrides; an empty one overrides nothing."""
    place, body = cases.keys[name], cases.get(name) or cases
    if not re.fullmatch(CASE_NAME, name):
        parts.source.complain(place, f"'{name[:70]}': a case's name is letters, digits, '.', '_' and '-'")
    if not isinstance(body.value, dict):
        if body.value is not None:
            parts.source.complain(body.place, f"expected a mapping with {', '.join(f'`{key}`' for key in KEYS)}")
        return Marked(place, {})
    for key in body.value.keys() - {*KEYS}:
        near = did_you_mean(key, KEYS) or f"; known: {', '.join(KEYS)}"
        parts.source.complain(body.keys[key], f"unknown key `{key}`{near}")
    return body


def _overridden(parts: Parts, document: Document, body: Marked, root: Marked) -> Document | None:
    """The document with what the case says of the network; what the matrix multiplies is not the case's to say."""
    for key in NETWORK:
        if body.get(key) and root.at(("matrix", key)) is not None:
            parts.source.complain(body.keys[key], f"the matrix multiplies `{key}`: a case cannot say it too")
    said = parts.read(Overrides, body.without(*(key for key in body.value if key not in NETWORK)))
    for key in ("listen", "target"):
        parts.node((key, "node"), body)
    given = {name: value for name, value in vars(said).items() if value is not None} if said else {}
    return dataclasses.replace(document, **given) if said else None


def _variant(parts: Parts, place: Place, body: Marked, root: Marked) -> tuple[ClientPart, Expect, Marked] | None:
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
    return (client, expect, expected) if client and expect else None


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
