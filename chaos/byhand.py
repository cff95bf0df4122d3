"""What an agent's operation is on a command line: the lines with which a person does the same as root.

A node is the network namespace chaos-NAME. An operation that only asks is no line at all.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos import onwire, programs, stepwise
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


CHILDREN = {"listener": "LISTENER", "holders": "HOLDERS", "overflow": "OVERFLOW"}
"""The operations that go on, and the variable of the shell that has their process."""


def _child(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    name, stop = CHILDREN.get(operation.child or ""), operation.arguments.get("stop")
    if name and operation.arguments.get("end"):
        yield f"kill ${name}; wait ${name} 2> /dev/null"
    elif operation.child in ("occupy", "crossing") and operation.arguments.get("end"):
        yield "kill $OTHER; wait $OTHER 2> /dev/null"
    elif name and stop is not None:
        yield f"kill -{'STOP' if stop else 'CONT'} ${name}"
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
    if said["address"].startswith("/"):
        folder = str(Path(said["address"]).parent)
        yield inside(node, "mkdir", "-p", folder)
        yield inside(node, "rm", "-f", said["address"])
    yield inside(node, *argv) + " & LISTENER=$!"
    yield f"until {_listening(said, node)}; do sleep 0.1; done"


def _listening(said: Mapping[str, Any], node: str) -> str:
    if said["address"].startswith("/"):
        return inside(node, "test", "-S", said["address"])
    if said["kind"] == "raw":
        return inside(node, "ss", "-Hnw") + " -a | grep -q ."
    asked = "-Hltn" if said["kind"] == "stream" else "-Hlun"
    return inside(node, "ss", asked, f"sport = :{said['port']}") + " | grep -q ."


def _pathname(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    said = operation.arguments
    if said.get("unlink"):
        yield inside(operation.node, "rm", said["path"])
    elif "mode" in said:
        yield inside(operation.node, "chmod", f"{said['mode']:o}", said["path"])


def _occupy(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield inside(operation.node, "python3", "-c", programs.occupant(operation.arguments)) + " & OTHER=$!"


def _crossing(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield inside(operation.node, "python3", "-c", programs.crossing(operation.arguments)) + " & OTHER=$!"


def _holders(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    node, said = operation.node, operation.arguments
    yield inside(node, "python3", "-c", programs.holders(said)) + " & HOLDERS=$!"
    held = inside(node, "ss", "-Htn", "state", "established", f"dport = :{said['port']}")
    yield f"until [ $({held} | wc -l) -ge {said['count']} ]; do sleep 0.1; done"


def _overflow(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    node, said = operation.node, operation.arguments
    yield inside(node, "python3", "-c", programs.overflow(said)) + " & OVERFLOW=$!"
    yield f"until {inside(node, 'ss', '-H0')} | grep -q {said['interface']}; do sleep 0.1; done"


def _announce(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield inside(operation.node, "python3", "-c", programs.announcement(operation.arguments))


def _half_open(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    said = operation.arguments
    yield f"# {said['count']} SYNs from {said['source']}, which no short command sends. For IPv4, with hping3:"
    argv = ["hping3", "-q", "-i", "u1000", "-c", str(said["count"]), "-S", "-s", "1024", "-a", said["source"]]
    yield f"# {inside(operation.node, *argv, '-p', str(said['port']), said['address'])}"


def _forged_reset(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    said = operation.arguments
    what = {"syn": "SYN", "accept": "final ACK", "data": "data"}[said["after"]]
    yield f"# In the lab a program at {said['interface']} of {operation.node} answers the client's {what} with a RST in"
    yield f"# the server's name, its number {said['sequence']}. No short command does that: chaos/agent/forged_reset.py"


def _descriptors(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    if (before := operation.arguments["before"]) is not None:
        yield f"# The client has no descriptor left when it comes to {before}: resource.setrlimit(RLIMIT_NOFILE) in it,"
        yield "# to the lowest number that is free. For a program that opens nothing else before: ulimit -n 3"


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
    yield inside(operation.node, *stepwise.argv(operation.arguments))


def _attempt(operation: Operation, _: Sequence[RouteSpec]) -> Iterator[str]:
    yield inside(operation.node, *program(operation))


def program(operation: Operation) -> list[str]:
    """The argv of a client that is a program, or a function of Python's."""
    job: Mapping[str, Any] = operation.arguments["job"]
    return job["argv"] if "surface" not in job else ["python3", "-c", programs.function(job["surface"])]


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
    "pathname": _pathname,
    "occupy": _occupy,
    "crossing": _crossing,
    "holders": _holders,
    "overflow": _overflow,
    "announce": _announce,
    "half_open": _half_open,
    "forged_reset": _forged_reset,
    "descriptors": _descriptors,
    "resolver": _resolver,
    "program": _program,
    "connect": _connect,
    "attempt": _attempt,
}
"""By operation."""
