"""The running containers of one lab, their agents attached, and the labs that they serve one after another.

A lab made of them is as new: whatever the last one had running in a node has ended, its recovery attempt was right, and
the listener, the wire and the captures start again. Every node has an address of each family; which one a lab is about,
and how patient the kernel is in it, is said anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaos.backends import composed
from chaos.backends import names as naming
from chaos.backends.channel import AgentNode, Channel, Question, asked, everywhere
from chaos.backends.composed import Slice
from chaos.backends.containers import Attached, ImageNode, Lines, ProductNode
from chaos.backends.lab import AgentLab
from chaos.backends.netns import COMMON, END, FORWARDING, LINK_LOCAL, TIMING, sysctls
from chaos.errors import LabError
from chaos.model import FAMILIES, RESOLVER, ROUTER, Addresses, Family, Setting
from chaos.model import Source as NameSource

if TYPE_CHECKING:
    from docker import APIClient

_CONF = (
    ("ipv4", "rp_filter", "0"),
    ("ipv4", "send_redirects", "0"),
    ("ipv4", "accept_redirects", "0"),
    ("ipv6", "disable_ipv6", "0"),
    ("ipv6", "accept_dad", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "addr_gen_mode", "1"),
    ("ipv6", "keep_addr_on_down", "1"),
)
ETH0: Final = [(f"net/{version}/conf/eth0/{name}", value) for version, name, value in _CONF]
"""The device is there before we are, so that conf/default comes too late for it."""
HOST: Final = [*END, ("net/ipv6/conf/all/forwarding", "0")]
"""Docker lets every container forward."""
TIMED: Final = sorted({name for values in TIMING.values() for name, _ in values})
"""What a lab's timing is made of."""


@dataclass(frozen=True)
class Kind:
    """What a lab's containers are made for; labs of one kind may share them.

    six: whether Docker's network has IPv6; its DNS would tell programs of an IPv4 lab such addresses, too.
    """

    file: str
    stamp: tuple[int, int]
    path: str
    client: str
    names: NameSource
    addresses: Addresses
    six: bool


def kind_of(setting: Setting) -> Kind:
    """The kind of a setting's containers; the Compose file counts by its change time and size."""
    status = Path(setting.topology.file).stat()
    stamp = (status.st_mtime_ns, status.st_size)
    what = (setting.path, setting.client, setting.names, setting.addresses)
    return Kind(setting.topology.file, stamp, *what, six="ipv6" in setting.families)


class Group:
    """The containers of one generated file; `containers` are their ids by service."""

    def __init__(
        self,
        api: APIClient,
        kind: Kind,
        config: Mapping[str, Any],
        share: Slice,
        label: str,
        containers: Mapping[str, str],
        lines: Lines,
    ) -> None:
        self._lines = lines
        self.api, self.kind, self.share, self.label = api, kind, share, label
        self._services = config["services"] | ({RESOLVER: None} if kind.names == "dns" else {})
        self._channels: list[Channel] = []
        self._places = {name: {each: self._address(name, each) for each in FAMILIES} for name in self._hosts()}
        names = [*self._places, *([ROUTER] if kind.path == "routed" else [])]
        try:
            self.nodes = {name: self._attach(name, containers) for name in names}
            self._patience = self._join()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        while self._channels:
            self._channels.pop().close()

    def reset(self) -> None:
        """End all that the last lab had running. LabError when an agent has died, or a service's container."""
        everywhere(self.nodes, "reset")
        for node in self.nodes.values():
            node.check()

    def lab(self, setting: Setting) -> AgentLab:
        """A lab of these containers; to be opened."""
        family = setting.family
        router = {name: ("eth0", self._address(ROUTER, family)) for name in self._places}
        for name, node in self.nodes.items():
            node.address = self._address(name, family)
        resolver = self._places.get(RESOLVER)
        resolv_conf = naming.etc(resolver[family])["resolv.conf"] if resolver else None
        names = {"hosts": naming.hosts(setting, self._places, {}), "resolv_conf": resolv_conf}
        asked(self.nodes, {name: [("names", names), *self._timing(name, setting.timing)] for name in self.nodes})
        return AgentLab(setting, self.nodes, self._nowhere(family), router, self._places, products=self._products())

    def _timing(self, name: str, timing: str) -> list[Question]:
        """What has a node's kernel wait as long as it shall, and as it does by itself in all else."""
        own = self._patience.get(name, {})
        return [("sysctl", {"write": [*own.items(), *TIMING[timing]]})] if own else []

    def _is_ours(self, name: str) -> bool:
        """Whether the node's own container is its agent."""
        return name in (ROUTER, RESOLVER) or composed.carries_agent(self._services[name])

    def _products(self) -> frozenset[str]:
        """The services that run something of their own."""
        return frozenset(name for name in self._places if not self._is_ours(name))

    def _attach(self, name: str, containers: Mapping[str, str]) -> AgentNode:
        own = self._is_ours(name)
        carrier = name if own else name + composed.SIDECAR
        for wanted in {name, carrier} - set(containers):
            raise LabError(f"the container of `{wanted}` has ended")
        channel = Attached(name, self.api, containers[carrier], self._lines)
        self._channels.append(channel)
        address = self._address(name, "ipv4")
        if own:
            device = "wire0" if name == ROUTER else "eth0"
            return ImageNode(name, address, device, channel, self.api, containers[name])
        return ProductNode(name, address, channel, self.api, containers[name])

    def _address(self, name: str, family: Family) -> str:
        """A node's address, as composed.generate assigns it."""
        return self.share.address(composed.ROUTER_HOST if name == ROUTER else self._hosts()[name], family)

    def _hosts(self) -> dict[str, int]:
        """The services' numbers in the slice."""
        hosts = {name: composed.FIRST_HOST + index for index, name in enumerate(self._services)}
        return hosts | ({RESOLVER: composed.RESOLVER_HOST} if self.kind.names == "dns" else {})

    def _nowhere(self, family: Family) -> str:
        return self.share.nowhere(self._hosts()[self.kind.client], family)

    def _join(self) -> dict[str, dict[str, str]]:
        """Host addresses, host routes, sysctls and the wire, in all nodes at once; the services' own timing."""
        reading: list[Question] = [("sysctl", {"read": TIMED})]
        joining: dict[str, list[Question]] = {name: [("join", self._joining(name))] for name in self.nodes}
        found = asked(self.nodes, {name: each if name == ROUTER else each + reading for name, each in joining.items()})
        return {name: answers[1] for name, answers in found.items() if name != ROUTER}

    def _joining(self, name: str) -> dict[str, Any]:
        at_router = name == ROUTER
        own_sysctls = sysctls(FORWARDING, FAMILIES) if at_router else HOST
        own: list[tuple[str, int]] = [(LINK_LOCAL, 64)] if at_router else []
        routes: list[tuple[str, str | None]] = []
        families: tuple[tuple[Family, int], ...] = (("ipv4", 32), ("ipv6", 128))
        for family, length in families:
            host, more = self._links(name, family)
            own.append((host, length))
            routes += more
        return {
            "sysctls": own_sysctls + sysctls(COMMON, FAMILIES) + ETH0,
            "addresses": own,
            "routes": routes,
            "wire": at_router,
            "processor": self.share.number,
        }

    def _links(self, name: str, family: Family) -> tuple[str, list[tuple[str, str | None]]]:
        """A node's address in one family, and its host routes: to the router, and through it to all else."""
        places, router = {name: each[family] for name, each in self._places.items()}, self._address(ROUTER, family)
        if name == ROUTER:
            return router, [(address, None) for address in places.values()]
        via = router if self.kind.path == "routed" else None
        goals = [address for other, address in places.items() if other != name]
        goals.append(self._nowhere(family))
        first: list[tuple[str, str | None]] = [(router, None)] if via else []
        return places[name], first + [(goal, via) for goal in goals]
