"""What an agent's operation is on a command line: the lines with which a person does the same as root.

A node is the network namespace chaos-NAME. An operation that only asks is no line at all.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chaos import onwire, programs
from chaos.toxiproxy import PORT

if TYPE_CHECKING:
    from chaos.agent.lab import RouteSpec
    from chaos.backends.fake import Operation

METRIC = 1024
"""Of the lab's own routes: a fault's route is added beside them and wins."""


def namespace(node: str) -> str:
    """The network namespace that stands for a node."""
    return f"chaos-{node}"


def inside(node: str, *argv: str) -> str:
    """A program run in a node; `ip` enters it by itself."""
    if argv[0] == "ip":
        return shlex.join(["ip", "-n", namespace(node), *argv[1:]])
    return shlex.join(["ip", "netns", "exec", namespace(node), *argv])


def sysctls(node: str, values: Sequence[tuple[str, str]]) -> str:
    """Sysctls of a node; what this kernel does not have is left out (-e)."""
    words = [f"{name.replace('/', '.')}={value.strip()}" for name, value in values]
    return " \\\n    ".join([inside(node, "sysctl", "-qew"), *map(shlex.quote, words)])


def route(each: RouteSpec) -> str:
    """A host route of the lab's own."""
    via = ["via", each["via"]] if each["via"] else []
    tail = ["dev", each["interface"], "proto", "static", "metric", str(METRIC)]
    return inside(each["node"], "ip", "route", "add", each["destination"], *via, *tail)


def etc(node: str, files: Mapping[str, str]) -> list[str]:
    """Files of a node's own: `ip netns exec` mounts them over those in /etc (ip-netns(8))."""
    folder = f"/etc/netns/{namespace(node)}"
    return [f"mkdir -p {folder}", *(f"printf %s {shlex.quote(text)} > {folder}/{name}" for name, text in files.items())]


def commands(operation: Operation, routes: Sequence[RouteSpec]) -> list[str]:
    """The lines that do what an operation did. `routes` are the lab's, which the kernel drops with a link."""
    return [*LINES.get(operation.name, _nothing)(operation, routes)]


def _nothing(_: Operation, __: Sequence[RouteSpec]) -> Iterator[str]:
    yield from ()


def _firewall(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    said = operation.arguments
    letter = {"add": "-A", "delete": "-D"}.get(said["do"])
    table = ["-t", said["table"]] if said["table"] != "filter" else []
    for rule in said["rules"] if letter else ():
        yield inside(operation.node, said["tool"], *table, letter or "", *rule)


def _command(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    argv = operation.arguments["argv"]
    if "show" not in argv:
        yield inside(operation.node, *argv)


def _sysctl(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    if operation.arguments.get("write"):
        yield sysctls(operation.node, operation.arguments["write"])


def _link(operation: Operation, routes: Sequence[RouteSpec]) -> Iterator[str]:
    node, interface, do = operation.node, operation.arguments["interface"], operation.arguments["do"]
    if do in ("down", "up"):
        yield inside(node, "ip", "link", "set", interface, do)
    if do == "up":
        yield from (route(each) for each in routes if (each["node"], each["interface"]) == (node, interface))


def _names(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield etc(operation.node, {"hosts": operation.arguments["hosts"]})[1]


def _quiesce(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield inside(operation.node, "ip", "neigh", "flush", "all")


def _child(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    if operation.child == "listener" and operation.arguments.get("end"):
        yield "kill $LISTENER; wait $LISTENER 2> /dev/null"
    elif operation.child == "answer" and operation.arguments.get("end"):
        yield f"# no more answers at {operation.node}"
    elif operation.child == "wire":
        yield from _wire(operation)
    elif operation.child == "toxiproxy" and "toxiproxy" in (operation.arguments.get("tell") or {}):
        yield from _toxiproxy(operation)
    elif operation.child == "resolver":
        yield from _resolver_told(operation.node, operation.arguments.get("tell") or {})


def _resolver(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    said = operation.arguments
    yield "# The DNS server needs dnslib: pip install dnslib"
    yield f"RESOLVE={shlex.quote(programs.RESOLVER.strip())}"
    yield f"export ADDRESS={said['address']} ZONE={shlex.quote(json.dumps(said['zone']))} ANSWER=honest BY=0 TCP=1"
    yield from _resolver_starts(operation.node)


def _resolver_told(node: str, word: Mapping[str, Any]) -> Iterator[str]:
    """Another zone or behaviour: the server is started anew."""
    if "behave" in word:
        told = word["behave"]
        yield f"export ANSWER={told['answer']} BY={told['by']} TCP={int(told['tcp'])}"
    elif "zone" in word:
        yield f"export ZONE={shlex.quote(json.dumps(word['zone']))}"
    if word.keys() & {"behave", "zone"}:
        yield "kill $RESOLVER; wait $RESOLVER 2> /dev/null"
        yield from _resolver_starts(node)


def _resolver_starts(node: str) -> Iterator[str]:
    yield inside(node, "python3", "-c") + ' "$RESOLVE" & RESOLVER=$!'
    yield f"until {inside(node, 'ss', '-Hlun', 'sport = :53')} | grep -q .; do sleep 0.1; done"


def _wire(operation: Operation) -> Iterator[str]:
    """A rule of the wire, armed or withdrawn."""
    for word, lines in (("arm", onwire.armed), ("withdraw", onwire.withdrawn)):
        for line in lines(operation.arguments["tell"][word]) if word in (operation.arguments.get("tell") or {}) else ():
            yield line if isinstance(line, str) else inside(operation.node, *line)


def _answer(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    """What iptables' REJECT cannot send, the node's agent sends."""
    message = operation.arguments["message"]
    yield f"# {operation.node} answers these segments with ICMP {message['type']}/{message['code']}: a program does it,"
    yield "# which reads them beside the kernel. By hand, iptables' REJECT can send a few codes of them (-j REJECT)."


def _listener(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    said, node = operation.arguments, operation.node
    if said["speaks"] == "http" and said["do"] == "serve":
        argv = ["python3", "-m", "http.server", str(said["port"]), "--bind", said["address"]]
    else:
        argv = ["python3", "-c", programs.listener(said)]
    yield inside(node, *argv) + " & LISTENER=$!"
    listening = inside(node, "ss", "-Hltn", f"sport = :{said['port']}")
    yield f"until {listening} | grep -q .; do sleep 0.1; done"


def _program(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    node, said = operation.node, operation.arguments
    yield inside(node, *said["argv"]) + ' > /dev/null 2>&1 & PROGRAMS="${PROGRAMS:-} $!"'
    listening = inside(node, "ss", "-Hltn", f"sport = :{said['port']}")
    yield f"until {listening} | grep -q .; do sleep 0.1; done"


def _toxiproxy(operation: Operation) -> Iterator[str]:
    """The HTTP API, as curl speaks it (Toxiproxy's README, "HTTP API")."""
    said = dict(operation.arguments["tell"]["toxiproxy"])
    do, name = said.pop("do"), said.pop("name")
    path, method, body = {
        "create": ("", "POST", {"name": name, **said}),
        "add": (f"/{name}/toxics", "POST", said.get("toxic")),
        "remove": (f"/{name}/toxics/{said.get('toxic')}", "DELETE", None),
        "enable": (f"/{name}", "POST", said),
    }.get(do, ("", "", None))
    if method:
        data = ["-d", json.dumps(body)] if body else []
        yield inside(operation.node, "curl", "-sS", "-X", method, *data, f"http://127.0.0.1:{PORT}/proxies{path}")


def _connect(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield inside(operation.node, "python3", "-c", programs.client(operation.arguments))


def _attempt(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    job = operation.arguments["job"]
    if "surface" not in job:
        yield inside(operation.node, *job["argv"])
        return
    yield inside(operation.node, "python3", "-c", programs.function(job["surface"]["job"]))


LINES: Mapping[str, Callable[[Operation, Sequence[RouteSpec]], Iterator[str]]] = {
    "firewall": _firewall,
    "command": _command,
    "sysctl": _sysctl,
    "link": _link,
    "names": _names,
    "quiesce": _quiesce,
    "child": _child,
    "answer": _answer,
    "listener": _listener,
    "resolver": _resolver,
    "program": _program,
    "connect": _connect,
    "attempt": _attempt,
}
"""By operation."""
