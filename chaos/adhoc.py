"""A lab and faults without a scenario file, from a command line or a test's arguments, typed as a file's are.

A fault on the command line is `KIND[:KEY=VALUE,...]`: `drop:segment=syn`, `drop:segment=ack+data,at=router`. Where a
kind needs `at` and none is said, it is the node that the client dials, or, of a fault that only makes sense there, the
client's own, or the router.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chaos import kinds, topology, typed
from chaos.errors import Problem, ScenarioError
from chaos.marked import Marked
from chaos.model import ROUTER, Client, Fault, Setting
from chaos.scenario import Case, Expect
from chaos.scenario.language import Document
from chaos.scenario.points import setting as setting_of
from chaos.source import Source


def setting(keys: Mapping[str, Any], client: Client, folder: Path, where: str) -> Setting:
    """The lab that a scenario with these keys (`topology`, `path`, `link`, `family`, `listen`...) would have.

    `folder` is where a topology's path starts. Raises ScenarioError, whose problems name `where`.
    """
    source = Source(where, "")

    def complain(path: typed.Path, message: str, _key: bool) -> None:
        source.complain((0, 0), ".".join(map(str, path)) + f": {message}")

    document = typed.read(Document, dict(keys), complain)
    source.stop()
    assert document is not None
    there = topology.find(document.topology, folder)
    _known(source, "the client's node", client.node, there.services)
    for end in ("listen", "target"):
        node = getattr(getattr(document, end), "node", None)
        if node is not None:
            _known(source, end, node, there.services)
    source.stop()
    found = setting_of(document, there, client, Expect(), Marked((0, 0), {}), source)
    source.stop()
    assert found is not None
    return found


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """(kind, parameters) of a fault as the command line has it. Raises ScenarioError."""
    kind, colon, rest = text.partition(":")
    parameters: dict[str, Any] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise _refused(text, f"expected KEY=VALUE, got `{part}`; write KIND:KEY=VALUE,KEY=VALUE")
        if key in parameters:
            raise _refused(text, f"`{key}` is given twice")
        values = [_plain(each) for each in value.split("+")]
        parameters[key] = values if len(values) > 1 else values[0]
    return kind, parameters


def fault(kind: str, parameters: Mapping[str, Any], setting: Setting, where: str) -> Fault:
    """A fault that fits the setting. Raises ScenarioError, whose problems name `where`."""
    made, messages = _fitting(kind, parameters, setting, where)
    services = list(setting.topology.services)
    hosts = [*services, ROUTER] if setting.path == "routed" else services
    given = {typed.key_of(name): getattr(made, name) for name in made.__dataclass_fields__}  # type: ignore[attr-defined]
    messages += [f"{key}: {message}" for key, message in kinds.stray_nodes(type(made), given, hosts)]
    if messages:
        raise ScenarioError([Problem(where, 0, 0, f"{kind}.{message}") for message in messages])
    return made


def _fitting(kind: str, parameters: Mapping[str, Any], setting: Setting, where: str) -> tuple[Fault, list[str]]:
    """The fault at the node given or its own, else at the first of target, client and router that suits it."""
    known = kinds.faults()
    places = typed.node_keys(known[kind]) if kind in known else {}
    placeless = "at" in parameters or "at" not in places or isinstance(places["at"], str)
    tries = [dict(parameters)]
    if not placeless:
        tries = [{**parameters, "at": node} for node in (setting.target.node, setting.client, ROUTER)]
    first: tuple[Fault, list[str]] | None = None
    for each in tries:
        made = kinds.fault(kind, each, where)
        objections = [*_objections(made, setting)]
        if not any(key == "at" for key, _ in objections):
            return made, [f"{key}: {message}" for key, message in objections]
        first = first or (made, [f"{key}: {message}" for key, message in objections])
    assert first is not None
    return first


def _objections(made: Fault, setting: Setting) -> Iterable[tuple[str, str]]:
    check = getattr(made, "check", None)
    return check(setting, None) if check else ()


def _plain(text: str) -> Any:
    """A number where YAML would read one."""
    if re.fullmatch(r"\d+\.\d+", text, re.ASCII):
        return float(text)
    return int(text) if re.fullmatch(r"0|[1-9]\d*", text, re.ASCII) else text


def _known(source: Source, what: str, name: str, services: Iterable[str]) -> None:
    known = list(services)
    if name not in known:
        source.complain((0, 0), f"{what}: {kinds.no_node(name, known)}")


def _refused(where: str, message: str) -> ScenarioError:
    return ScenarioError([Problem(where, 0, 0, message)])


def case(
    where: str, name: str, setting: Setting, faults: Iterable[tuple[str, Fault]], client: Client, adapter: str
) -> Case:
    """A case that expects nothing in particular, and whose legs our own socket makes."""
    return Case(
        file=Path(where),
        name=name,
        line=0,
        setting=setting,
        faults=tuple(faults),
        client=client,
        adapter=adapter,
        probe="socket",
        expect=Expect(),
        tags=(),
        xfail=None,
        exclusive=False,
        lines={},
    )
