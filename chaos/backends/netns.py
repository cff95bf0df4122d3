"""The embedded backend: every service is a Linux network namespace. Needs no Docker, works as root and unprivileged.

`Netns` is a session: one zygote process (chaos/agent/zygote.py) from which the processes of labs are forked; one
serves many labs in turn (chaos/agent/lab.py), and a lab's namespaces are always new. Addresses:

    node i   198.18.i.2/32, 2001:db8:0:i::2/128 on eth0      routed: each peer by a host route through the router
    router   198.18.i.1,    2001:db8:0:i::1     on to-NAME   direct: all on one bridge, each peer by a link route

A node has an address of each family to which names lead.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chaos import command, packages, toxiproxy
from chaos.backends import names as naming
from chaos.backends import processes
from chaos.backends.channel import AgentNode, Channel, everywhere
from chaos.backends.compressed import JIFFY, UNIT, Compression
from chaos.backends.lab import AgentLab, Waiting
from chaos.backends.processes import START, Processes
from chaos.errors import LabError
from chaos.model import RESOLVER, ROUTER, Family, Setting
from chaos.requires import Answers
from chaos.schedule import Unit

if TYPE_CHECKING:
    import subprocess

    from chaos.agent.lab import LinkSpec, NodeSpec, RouteSpec, Spec

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES: Mapping[Family, str] = {"ipv4": "198.18.{}.{}", "ipv6": "2001:db8:0:{}::{}"}
"""Of a node's address, by its number: it is 2 on its link, and the router 1."""
BITS: Mapping[Family, int] = {"ipv4": 32, "ipv6": 128}
NODE, GATEWAY = 2, 1
LINK_LOCAL = "fe80::1"
SWITCH = "switch"
BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from chaos.agent.zygote import main; main()"

Sysctls = list[tuple[str, str]]

COMMON: Mapping[Family, Sysctls] = {
    "ipv4": [
        ("net/ipv4/icmp_ratemask", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ],
    "ipv6": [
        ("net/ipv6/icmp/ratemask", "\n"),
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/keep_addr_on_down", "1"),
    ],
}
"""Of every node, by the families that its lab has."""
WITHOUT_IPV6: Sysctls = [("net/ipv6/conf/default/disable_ipv6", "1")]
"""Of every node of a lab whose names lead to no such address: its devices join no groups, and say so to nobody."""
END: Sysctls = [("net/ipv4/ip_forward", "0"), ("net/ipv4/tcp_no_metrics_save", "1")]
"""Of those that have connections. Where the host forwards (Docker has it do so), a new namespace does."""
FORWARDING: Mapping[Family, Sysctls] = {
    "ipv4": [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
    ],
    "ipv6": [("net/ipv6/conf/all/forwarding", "1")],
}
"""Of the router."""
AT_ONCE = 16
"""Labs that end together. The kernel holds the lock of all network namespaces while it takes some of them down, and
whoever builds a lab waits for it: once for many is shorter than once for each."""
TIMING: Mapping[str, Sysctls] = {
    "short": [("net/ipv4/tcp_syn_retries", "1"), ("net/ipv4/tcp_syn_linear_timeouts", "0")],
    "real": [],
    "doubling": [("net/ipv4/tcp_syn_retries", "6"), ("net/ipv4/tcp_syn_linear_timeouts", "0")],
    "compressed": [],  # the kernel's own budget of SYNs; backends/compressed.py scales its unit
}


class Netns:
    """A session of the netns backend: a context manager; `start` may be called from any thread.

    With `stdin`, what the operation `passthrough` runs in a node may read our standard input.
    """

    def __init__(self, *, stdin: bool = False) -> None:
        self._stdin = stdin
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._processes: Processes | None = None
        self._compression = Compression()
        self._alive = 0
        self._over: list[ExitStack] = []
        self._answers = Answers()
        self._learnt: dict[Any, Any] = {}

    def __enter__(self) -> Netns:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", BOOT, str(ROOT), str(theirs.fileno()), str(os.getpid())]
            self._process = command.start(argv, pass_fds=[theirs.fileno()], stdin=self._stdin)
        self._processes = Processes(ours)
        try:
            answer = _first_word(ours)
            if answer != b"ready":
                raise LabError(_why_not(answer))
        except BaseException:  # Ctrl-C, too
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Hang up and wait until the kernel has ended every process of the session."""
        self._compression.close()
        self._bury()
        if self._processes is not None:
            self._processes.close()
        if self._process is not None:
            command.await_end(self._process, START)  # killed, the keeper takes the zygote along

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        """A running lab for this setting: every agent answers, the wire relays, the listener accepts."""
        if setting.timing == "compressed":
            self._compression.attach()
        names = list(setting.topology.services)
        spec = specify(setting, names)
        with self._life() as stack:
            channel, waiting = self._fork(spec, stack, shares=setting.patient and not setting.slow)
            nodes = {
                name: AgentNode(
                    name, _address(setting, names, name), _interface(name), channel, self._learnt, self._forkserver
                )
                for name in (node["name"] for node in spec["nodes"])
                if name != SWITCH
            }
            lab = AgentLab(
                setting,
                nodes,
                _swallowed(setting, names)[setting.family],
                _router(setting, names),
                places(names),
                packages=packages.folder,
            )
            lab.answers, lab.waiting = self._answers, waiting
            if setting.timing == "compressed":
                cookies = everywhere(nodes, "cookie").values()
                lab.unit, lab.compressed = Unit(UNIT * JIFFY, JIFFY), lambda: self._compression.of(cookies)
            for service in setting.topology.services.values():
                if service.proxy is not None:
                    lab.program(service.name, [self._toxiproxy(), *toxiproxy.ARGUMENTS], toxiproxy.PORT)
            lab.open()
            yield lab

    @contextmanager
    def _life(self) -> Iterator[ExitStack]:
        """What a lab lives from; it is closed with that of others, or at once when there is no other lab."""
        with self._lock:
            self._alive += 1
        stack = ExitStack()
        try:
            yield stack
        finally:
            with self._lock:
                self._alive -= 1
                self._over.append(stack)
                due = not self._alive or len(self._over) >= AT_ONCE
            if due:
                self._bury()

    def _bury(self) -> None:
        with self._lock:
            over, self._over = self._over, []
        for stack in over:
            stack.close()

    def _toxiproxy(self) -> str:
        """The server of a node that is a Toxiproxy. Raises ToolMissing."""
        return toxiproxy.server()

    def _forkserver(self, libraries: Sequence[str]) -> int:
        """Whose children have these loaded: the descriptor on which labs ask it for them."""
        if self._processes is None:
            raise LabError("the netns session is not running")
        return self._processes.forkserver(libraries)

    def _fork(self, spec: Spec, stack: ExitStack, *, shares: bool) -> tuple[Channel, Waiting]:
        """Have a process build the lab: the line to its agents, and what to enter while it waits.

        `shares`: the process with others, whose building and end its wire may have to wait for.
        """
        if self._processes is None:
            raise LabError("the netns session is not running")
        tenant = self._processes.take(shares=shares)
        stack.callback(self._processes.give_back, tenant)
        ours, theirs = socket.socketpair()
        fd = ours.detach()
        channel = Channel(spec["nodes"][0]["name"], fd, fd)
        stack.callback(channel.close)
        with theirs:
            message = processes.build(tenant.process.status, spec, theirs.fileno())
        if message is None:
            alive = self._process is not None and self._process.poll() is None
            died = "a lab's first process died" if alive else "the netns session died"
            raise LabError(f"{died} while a lab was starting")
        if "error" in message:
            raise LabError(f"a lab could not be built: {message['error']}")
        return channel, tenant.waiting if shares else nullcontext


def _first_word(zygote: socket.socket) -> bytes:
    """What it says when it has started; nothing when it does not, or ends."""
    zygote.settimeout(START)
    try:
        return zygote.recv(4096)
    except TimeoutError:
        return b""


def _why_not(answer: bytes) -> str:
    text = json.loads(answer)["message"] if answer else "its process died"
    mend = "root, or unprivileged user namespaces"
    apparmor = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if apparmor.exists() and apparmor.read_text().strip() == "1" and os.geteuid():
        mend = "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    return f"namespaces cannot be made here: {text}; the netns backend needs {mend}"


def specify(setting: Setting, names: Sequence[str]) -> Spec:
    """The lab to build, as data: `plan.txt` prints the same."""
    routed = setting.path == "routed"
    hub = ROUTER if routed else SWITCH
    there = places(names)
    resolver = there[RESOLVER][setting.family] if setting.names == "dns" else None
    common = sysctls(COMMON, setting.families) + (WITHOUT_IPV6 if "ipv6" not in setting.families else [])
    ends: list[NodeSpec] = [{"name": name, "sysctls": common + END + TIMING[setting.timing]} for name in names]
    at_hub: NodeSpec = {"name": hub, "sysctls": (sysctls(FORWARDING, setting.families) if routed else []) + common}
    links: list[LinkSpec] = []
    routes: list[RouteSpec] = []
    for index, name in enumerate(names, 1):
        links.append(
            {
                "hub": hub,
                "node": name,
                "hub_interface": _interface_to(index, name),
                "hub_addresses": _router_addresses(index, setting.families) if routed else [],
                "addresses": [(there[name][family], BITS[family]) for family in setting.families],
            }
        )
        for family in setting.families:
            nowhere = _swallowed(setting, names)[family]
            goals = [*(each[family] for other, each in there.items() if other != name), nowhere]
            routes += _routes(name, TEMPLATES[family].format(index, GATEWAY) if routed else None, goals)
    kind = {"wire": hub, "bridged": None} if routed else {"wire": None, "bridged": hub}
    etc = {"hosts": naming.hosts(setting, there, {}), **naming.etc(resolver)}
    return {
        "nodes": [*ends, at_hub],
        "links": links,
        "routes": routes,
        "etc": etc,
        "families": [*setting.families],
        "wire": kind["wire"],
        "bridged": kind["bridged"],
    }


def sysctls(of: Mapping[Family, Sysctls], families: Sequence[Family]) -> Sysctls:
    """Those of some families."""
    return [sysctl for family in families for sysctl in of[family]]


def places(names: Sequence[str]) -> naming.Places:
    """The addresses of every node, in both families."""
    return {
        name: {family: template.format(index, NODE) for family, template in TEMPLATES.items()}
        for index, name in enumerate(names, 1)
    }


def _swallowed(setting: Setting, names: Sequence[str]) -> dict[Family, str]:
    """The addresses that belong to nobody; in IPv6 the one that is nearest to the client's own.

    getaddrinfo() prefers the IPv6 address with the longest prefix in common with its own (RFC 6724, rule 9), so that
    this one stays in front of the right one when a name has both.
    """
    client = names.index(setting.client) + 1 if setting.client in names else 1
    return {"ipv4": "198.19.255.254", "ipv6": TEMPLATES["ipv6"].format(client, "dead")}


def _routes(name: str, gateway: str | None, goals: Sequence[str]) -> list[RouteSpec]:
    """Host routes to every goal, through the gateway if there is one; no default route: no way out."""
    first: list[RouteSpec] = []
    if gateway:
        first.append({"node": name, "destination": gateway, "interface": "eth0", "via": None})
    return first + [{"node": name, "destination": goal, "interface": "eth0", "via": gateway} for goal in goals]


def _router_addresses(index: int, families: Sequence[Family]) -> list[tuple[str, int]]:
    """Of the router's device towards node `index`; it solicits neighbours from a link-local one (RFC 4861, 7.2.2)."""
    own = [(TEMPLATES[family].format(index, GATEWAY), BITS[family]) for family in families]
    return own + [(LINK_LOCAL, 64)] * ("ipv6" in families)


def _router(setting: Setting, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The router's device and address towards each node."""
    template = TEMPLATES[setting.family]
    return {name: (_interface_to(index, name), template.format(index, GATEWAY)) for index, name in enumerate(names, 1)}


def _interface_to(index: int, name: str) -> str:
    """The router's device towards a node; IFNAMSIZ allows 15 characters."""
    return f"to-{name}" if len(name) <= 12 else f"to-{index}"


def _interface(name: str) -> str:
    return "wire0" if name == ROUTER else "eth0"


def _address(setting: Setting, names: Sequence[str], name: str) -> str:
    """A node's address in the scenario's family; the router's towards the target."""
    if name in names:
        return places(names)[name][setting.family]
    return TEMPLATES[setting.family].format(names.index(setting.target.node) + 1, GATEWAY)
