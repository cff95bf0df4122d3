"""plan.txt: the commands with which a person does by hand, as root, what a case does.

The network is printed from the very data that builds the lab (chaos.backends.netns.specify), the faults and the client
from what they really asked of a lab without a kernel (chaos.backends.fake). Only the wire is another one: the lab's is
a program, and what a person can type instead is a bridge that turns frames round, with no delay of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from chaos.agent.lab import BEHIND_WIRE, WIRE, WIRE_FAR, WIRE_TABLE, LinkSpec, RouteSpec, Spec
from chaos.backends.fake import Fake, Operation
from chaos.backends.netns import specify
from chaos.byhand import commands, etc, inside, namespace, route, sysctls
from chaos.incontainers import Containers
from chaos.scenario import Case

HEAD = """\
# {id}, by hand.
# As root, with iproute2, iptables, procps and python3; `bash plan.txt` does all of it.
# It makes network namespaces chaos-*, and files in /etc/netns for the names in them{and_}. It changes nothing else.\
"""

COMPRESSED = """
# The lab scales the kernel's retransmission timeouts by a BPF program. By hand nothing is scaled: it takes minutes.\
"""

WIRE_NOTE = """\
# What comes in from a node leaves by {wire}, and {far} gives it back. In the lab {far} is held by a relay, a program
# that waits {half:g} ms each way; no one-line command does that. Here a bridge turns the frames round at once, so the
# path has no round-trip time, and an ICMP answer arrives inside connect()'s own system call: the kernel keeps it as a
# soft error, and it surfaces with the next SYN, a second later. With netem in the kernel, this is the lab's delay:
# {netem}\
"""


def plan(case: Case, *, docker: bool = False) -> str:
    """The text for one case: set-up, healthy listener, faults, client, undo; a shell script with its reasons.

    `docker`: the services are containers.
    """
    containers = Containers(case.setting.topology) if docker else None
    spec = specify(case.setting, list(case.setting.topology.services))
    routes = [*spec["routes"], *(_hub_route(link, address) for link in spec["links"] for address in _hosts_of(link))]
    typed = containers.commands if containers else commands
    listener, arming, attempt, undoing = (
        [line for operation in operations for line in typed(operation, routes)]
        for operations in _recorded(case, containers.products if containers else frozenset())
    )
    folders = [Path(case.setting.pathname).parent] if case.setting.local else []
    sections = [
        ("The containers", containers.up() if containers else []),
        ("The nodes", _nodes(spec, containers)),
        ("The links, addresses and routes", _network(spec)),
        ("The wire", _wire(spec, case.setting.rtt)),
        ("The listener, healthy", listener),
        (", ".join(kind for kind, _ in case.faults) or "No fault", arming),
        ("The client", attempt),
        ("Undo the faults, in reverse order" if case.faults else "", undoing),
        ("Undo the rest", [*_undo(spec, listener), *(f"rm -r {folder}" for folder in folders)]),
        ("", [containers.down()] if containers else []),
    ]
    texts = [(f"# -- {title}\n" if title else "") + "\n".join(lines) for title, lines in sections if lines]
    head = HEAD.format(id=case.node_id, and_="".join(f", and {folder}" for folder in folders))
    head += f"\n{containers.head}" if containers else ""
    head += COMPRESSED if case.setting.timing == "compressed" else ""
    return "\n\n".join([head, *texts]) + "\n"


def _recorded(case: Case, products: frozenset[str]) -> list[Sequence[Operation]]:
    """What a case asks of the agents: when the lab opens, when the faults are armed, of the client, and to undo."""
    with Fake() as fake, fake.start(case.setting) as lab:
        lab.products = products
        marks = [0, len(fake.operations)]
        with ExitStack() as undo:
            for _, fault in case.faults:
                undo.enter_context(fault.inject(lab))
            marks.append(len(fake.operations))
            case.client.attempt(lab)
            marks.append(len(fake.operations))
        marks.append(len(fake.operations))
    return [fake.operations[start:end] for start, end in pairwise(marks)]


def _hosts_of(link: LinkSpec) -> list[str]:
    return [address for address, _ in link["addresses"]]


def _hub_route(link: LinkSpec, address: str) -> RouteSpec:
    return {"node": link["hub"], "destination": address, "interface": link["hub_interface"], "via": None}


def _nodes(spec: Spec, containers: Containers | None) -> list[str]:
    lines = []
    files = spec["etc"] if spec["etc"]["resolv.conf"] else {"hosts": spec["etc"]["hosts"]}
    for node in spec["nodes"]:
        name = node["name"]
        lines += [containers.namespace(name) if containers else f"ip netns add {namespace(name)}", *etc(name, files)]
        lines += containers.names(name) if containers else []
        lines += [sysctls(name, node["sysctls"]), inside(name, "ip", "link", "set", "lo", "up")]
    return lines


def _network(spec: Spec) -> list[str]:
    """In the order of chaos/agent/lab.py: the hub's side of every link, then the nodes'."""
    lines = []
    if spec["bridged"]:
        lines.append(inside(spec["bridged"], "ip", "link", "add", "bridge0", "type", "bridge"))
        lines += _up(spec["bridged"], "bridge0")
    for link in spec["links"]:
        lines += _hub_side(link, bridged=spec["bridged"] is not None)
    for link in spec["links"]:
        node = link["node"]
        lines += _up(node, "eth0")
        lines += [_address(node, "eth0", address, prefix) for address, prefix in link["addresses"]]
        lines += [route(each) for each in spec["routes"] if each["node"] == node]
    return lines


def _hub_side(link: LinkSpec, *, bridged: bool) -> Iterator[str]:
    hub, name = link["hub"], link["hub_interface"]
    peer = ["type", "veth", "peer", "name", "eth0", "netns", namespace(link["node"])]
    yield inside(hub, "ip", "link", "add", name, *peer)
    yield from _up(hub, name)
    if bridged:
        yield inside(hub, "ip", "link", "set", name, "master", "bridge0")
        return
    yield from (_address(hub, name, address, prefix) for address, prefix in link["hub_addresses"])
    yield from (route(_hub_route(link, address)) for address in _hosts_of(link))


def _up(node: str, interface: str) -> list[str]:
    """Up, with no link-local address but those that are given."""
    link = ["ip", "link", "set", "dev", interface]
    return [inside(node, *link, "addrgenmode", "none"), inside(node, *link, "up")]


def _address(node: str, interface: str, address: str, prefix: int) -> str:
    nodad = ["nodad"] if ":" in address else []
    return inside(node, "ip", "address", "add", f"{address}/{prefix}", "dev", interface, *nodad)


def _wire(spec: Spec, rtt: float) -> list[str]:
    router = spec["wire"]
    if router is None:
        return []

    def ip(*words: str) -> str:
        return inside(router, "ip", *words)

    netem = inside(router, "tc", "qdisc", "add", "dev", WIRE_FAR, "root", "netem", "delay", f"{rtt * 500:g}ms")
    lines = [WIRE_NOTE.format(wire=WIRE, far=WIRE_FAR, half=rtt * 500, netem=netem)]
    lines.append(ip("link", "add", WIRE, "arp", "off", "type", "veth", "peer", "name", WIRE_FAR))
    lines.append(ip("link", "add", "turn", "type", "bridge"))
    lines.append(ip("link", "set", WIRE_FAR, "master", "turn"))
    lines += [line for device in ("turn", WIRE_FAR, WIRE) for line in _up(router, device)]
    lines.append(ip("link", "set", WIRE_FAR, "type", "bridge_slave", "hairpin", "on"))
    for family in spec["families"]:
        option, table, behind = "-6" if family == "ipv6" else "-4", ["table", str(WIRE_TABLE)], BEHIND_WIRE[family]
        way = ["via", behind, "dev", WIRE, "onlink"]
        lines.append(ip(option, "route", "add", "default", *way, *table, "proto", "static"))
        lines.append(ip(option, "neighbour", "add", behind, "dev", WIRE, "nud", "permanent"))
        lines += [ip(option, "rule", "add", "iif", link["hub_interface"], *table) for link in spec["links"]]
    return lines


def _undo(spec: Spec, started: Sequence[str]) -> list[str]:
    names = [namespace(node["name"]) for node in spec["nodes"]]
    alive = [f"${name}" for name in ("LISTENER", "RESOLVER", "PROGRAMS") if any(f"{name}=" in it for it in started)]
    return [
        *([" ".join(["kill", *alive])] if alive else []),
        *(f"ip netns del {name}" for name in names),
        *(f"rm -r /etc/netns/{name}" for name in names),
    ]
