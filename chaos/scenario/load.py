"""A `.chaos.yaml` file into cases, with everything that is wrong in it at once.

The file's frame is typed first (language.py), then each variant's faults, client and expectation (parts.py,
variants.py); the matrix multiplies the variants (points.py). Problems are noted in the Source and raised at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from chaos import kinds, topology, typed
from chaos.errors import ScenarioError
from chaos.marked import Marked
from chaos.model import RESOLVER, ROUTER, Topology
from chaos.scenario.case import Case, Scenario
from chaos.scenario.language import Document
from chaos.scenario.parts import Nodes, Parts
from chaos.scenario.points import fits, points, setting
from chaos.scenario.variants import Variant, variants
from chaos.source import Place, Source, read
from chaos.yamltext import parse

LIMIT: Final = 64 * 1024
_PARTS: Final = ("faults", "client", "expect", "cases")


Doubt = Callable[[Case], Iterable[tuple[typed.Path, str]]]
"""(path in the file, such as `("expect", "error")`, message) of each thing in a case that is allowed and doubtful."""


def load(
    path: Path,
    *,
    faults: Mapping[str, type] | None = None,
    clients: Mapping[str, type] | None = None,
    doubt: Doubt = lambda _case: (),
) -> Scenario:
    """Read a scenario file. Raises ScenarioError with every problem in it; starts nothing.

    `faults` and `clients` are the kinds that it may name: those of this package, unless given. `doubt` is asked of each
    case, if nothing is wrong; its answers are the scenario's warnings.
    """
    source = read(path, LIMIT)
    root = parse(source)
    if not isinstance(root.value, dict):
        raise ScenarioError([source.problem(root.place, "a scenario is a mapping, such as `expect: {error: ok}`")])
    where = _topology(root, path, source)
    parts = Parts(
        source,
        _nodes(root, where),
        kinds.faults() if faults is None else faults,
        kinds.clients() if clients is None else clients,
    )
    document = parts.read(Document, root.without(*_PARTS))
    parts.node(("listen", "node"), root)
    parts.node(("target", "node"), root)
    found = list(variants(parts, root, document or Document()))
    cases: tuple[tuple[Variant, Case], ...] = ()
    if document and where:
        cases = tuple(_cases(path, where, root, found, source))
    source.stop()
    for variant, case in cases:
        for place, message in doubt(case):
            source.warn(_place(place, variant), message)
    return Scenario(path, _why(source), tuple(case for _, case in cases), tuple(source.warnings))


def _place(path: typed.Path, variant: Variant) -> Place:
    """Where a key of a case stands: it may be its own or the file's."""
    return variant.expected.find(path[1:]) if path[0] == "expect" else variant.root.find(path)


def _topology(root: Marked, path: Path, source: Source) -> Topology | None:
    node = root.get("topology")
    name = node.value if node else Document.topology
    if not isinstance(name, str):
        return None  # noted with the frame
    found = topology.locate(name, path.parent)
    if found is None:
        source.complain(root.find(("topology",)), topology.unknown(name, path.parent))
        return None
    try:
        return topology.load(found)
    except ScenarioError as error:
        source.problems.extend(error.problems)
        return None


def _nodes(root: Marked, where: Topology | None) -> Nodes | None:
    if where is None:
        return None
    paths = (root.at(("path",)), root.at(("matrix", "path")))
    added = () if root.at(("names",)) != "dns" or RESOLVER in where.services else (RESOLVER,)
    services = (*where.services, *added)
    return Nodes(services, services if "direct" in str(paths) else (*services, ROUTER))


def _cases(
    path: Path,
    where: Topology,
    root: Marked,
    found: list[Variant],
    source: Source,
) -> Iterator[tuple[Variant, Case]]:
    seen: set[str] = set()
    for variant in found:
        document = variant.document
        for point, at in points(document, root.get("matrix")):
            name = point if point and not root.get("cases") else "-".join(filter(None, (variant.name, point)))
            if name in seen:
                source.complain(variant.place, f"two cases are called `{name}`")
            seen.add(name)
            there = setting(at, where, variant.client.client, variant.expect, variant.root, source)
            if there is None:
                continue
            fits(variant, there, source)
            case = Case(
                file=path,
                name=name,
                line=variant.place[0],
                setting=there,
                faults=tuple((part.kind, part.fault) for part in variant.faults),
                client=variant.client.client,
                adapter=variant.client.adapter,
                probe=variant.client.probe,
                expect=variant.expect,
                tags=document.tags,
                xfail=document.xfail,
                exclusive=document.exclusive,
                lines=_lines(variant),
            )
            yield variant, case


def _lines(variant: Variant) -> dict[str, int]:
    """The line of each key by its path: `faults.0`, `client`, `expect.wire.client.2`."""
    found = {key: place[0] for key, place in variant.root.keys.items()}
    found["client"] = variant.client.at.place[0]
    if faults := variant.root.get("faults"):
        _descend("faults", faults, found)
    found["expect"] = variant.expected.place[0]
    _descend("expect", variant.expected, found)
    return found


def _descend(path: str, node: Marked, found: dict[str, int]) -> None:
    if isinstance(node.value, list):
        found.update((f"{path}.{index}", item.place[0]) for index, item in enumerate(node.value))
    elif isinstance(node.value, dict):
        for key, inner in node.value.items():
            found[f"{path}.{key}"] = node.keys[key][0]
            _descend(f"{path}.{key}", inner, found)


def _why(source: Source) -> str:
    """The file's first comment."""
    words: list[str] = []
    for line in source.lines:
        if not line.startswith("#"):
            break
        words.append(line.strip("# "))
    return " ".join(words)
