"""One variant at one point of the matrix: the setting of its lab, and whether the parts fit one another."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator

from chaos.marked import Marked
from chaos.model import NODE_IMAGE, RESOLVER, Client, Endpoint, Listen, Service, Setting, Speaks, Timing, Topology
from chaos.scenario.behind import behind
from chaos.scenario.language import Document, Expect
from chaos.scenario.parts import FaultPart
from chaos.scenario.variants import Variant
from chaos.schedule import GIVES_UP
from chaos.source import Source


def points(document: Document, matrix: Marked | None) -> Iterator[tuple[str, Document]]:
    """(end of the case's name, document) for every combination of the matrix, in the order of the file."""
    if matrix is None:
        yield "", document
        return
    axes = list(matrix.value)
    for values in itertools.product(*(getattr(document.matrix, axis) for axis in axes)):
        yield "-".join(values), dataclasses.replace(document, **dict(zip(axes, values, strict=True)))


def setting(
    document: Document, topology: Topology, client: Client, expect: Expect, root: Marked, source: Source
) -> Setting | None:
    """What a backend needs to know; None after noting why there is none."""
    listen = _listen(document, topology, client)
    target = _target(document, topology, listen) if listen else None
    if listen is None or target is None:
        if listen is None and document.listen.node is None:
            where = root.find(("listen",) if root.get("listen") else ("topology",))
            known = ", ".join(topology.services)
            source.complain(where, f"who listens? Say `listen: {{node: ..., port: ...}}`; there are: {known}")
        return None  # a node that does not exist is noted already
    if target.node == client.node and document.family != "local":
        source.complain(
            root.find(("client", "node")), f"the client dials its own node `{target.node}`: no path to break"
        )
    if document.path == "direct" and not document.matrix.path and root.get("link"):
        source.complain(root.keys["link"], "`path: direct` has no wire that could take its time")
    if document.names == "dns":
        topology = _with_resolver(topology, root, source)
    return Setting(
        topology,
        document.path,
        document.link.rtt,
        "ipv4" if document.family == "local" else document.family,
        document.timing,
        listen,
        target,
        client.node,
        folder=os.path.dirname(source.file) or ".",  # noqa: PTH120 (pathlib is ten times slower)
        type=document.type,
        local=document.family == "local",
        bound=getattr(getattr(client, "bind", None), "port", None),
        names=document.names,
        addresses=document.addresses,
        waits=waits(expect, document.timing),
    )


def waits(expect: Expect, timing: Timing) -> float:
    """Seconds that the attempt lasts at least, as far as the scenario says."""
    if expect.elapsed == "kernel":
        return GIVES_UP[timing]
    return (expect.elapsed and expect.elapsed.low) or 0.0


def _with_resolver(topology: Topology, root: Marked, source: Source) -> Topology:
    """The topology and the node that answers for its names."""
    if RESOLVER in topology.services:
        source.complain(
            root.find(("names",)), f"`names: dns` adds a node `{RESOLVER}`, and the topology has one already"
        )
    resolver = Service(RESOLVER, image=NODE_IMAGE, resolver=True)
    return dataclasses.replace(topology, services={**topology.services, RESOLVER: resolver})


def fits(variant: Variant, setting: Setting, source: Source) -> None:
    """Note each part that cannot work in this setting: a fault or a client may have a `check` of its own."""
    faults = variant.faults
    for number, key, message in behind(faults, setting, variant.expect):
        source.complain(faults[number].at.find((key,)), message)
    for part, at in (*((fault, at) for _, fault, at in faults), (variant.client.client, variant.client.at)):
        check = getattr(part, "check", None)
        for key, message in check(setting, variant.expect) if check else ():
            source.complain(at.find((key,)), message)
    for number, text in unfit(faults, setting):
        source.complain(faults[number].at.place, text)
    if (setting.local or setting.type != "stream") and variant.client.adapter != "socket":
        where = variant.client.at.place
        source.complain(where, "only the socket client has sockets of other types and domains than TCP's")
    if variant.expect.step and variant.client.adapter != "socket":
        source.complain(variant.expected.find(("step",), key=True), "only the socket client has steps")


def unfit(faults: Iterable[FaultPart], setting: Setting) -> Iterator[tuple[int, str]]:
    """(number of the fault, message) for each that does not act on sockets of this domain and type."""
    kind = "local" if setting.local else setting.type
    for number, part in enumerate(faults):
        if kind not in (acts := getattr(part.fault, "sockets", ("stream",))):
            yield number, f"{part.kind} acts on {' and '.join(acts)} sockets, and these are {kind}"


def _listen(document: Document, topology: Topology, client: Client) -> Listen | None:
    """The listener: `server`, or the only service that says where it listens, if the scenario names none."""
    said = document.listen
    listening = [service.name for service in topology.services.values() if service.listen]
    if document.family == "local":
        return Listen(client.node, said.port or 8080, "echo", said.backlog)
    usual = "server" if "server" in topology.services or len(listening) != 1 else listening[0]
    service = topology.services.get(said.node or usual)
    if service is None:
        return None
    needed: Speaks = getattr(client, "speaks", "echo")
    return Listen(service.name, said.port or service.listen or 8080, said.speaks or needed, said.backlog)


def _target(document: Document, topology: Topology, listen: Listen) -> Endpoint | None:
    """What the client dials: as said, or the Toxiproxy in front of the listener, or the listener."""
    said, end = document.target, Endpoint(listen.node, listen.port)
    if said is None:
        proxies = (service for service in topology.services.values() if service.proxy and service.proxy[1] == end)
        return next((Endpoint(service.name, _port(service, listen)) for service in proxies), end)
    service = topology.services.get(said.node)
    return Endpoint(service.name, said.port or _port(service, listen)) if service else None


def _port(service: Service, listen: Listen) -> int:
    if service.proxy:
        return service.proxy[0]
    return listen.port if service.name == listen.node else service.listen or listen.port
