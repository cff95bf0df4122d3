"""The Compose file of a lab: what `docker compose config` says, with the router and the agents added.

    every service   stays what it is, on the lab's one internal network, with an address of ours and nothing published
    router          a node image; it routes and holds the wire
    dns             likewise, where names come from DNS; it answers for them
    NAME.agent      beside each service that is not our own node image: a sidecar in its network namespace

A node image carries its agent itself. A Toxiproxy is started as in the netns backend: its API on loopback alone. What
two labs at once could not each have to itself is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from chaos import toxiproxy
from chaos.backends import image
from chaos.model import RESOLVER, ROUTER, Family, Setting, Topology

SLICES: Final = 512
"""/24s of 198.18.0.0/15 (RFC 2544), and as many /64s of 2001:db8::/32 (RFC 3849)."""
GATEWAY, ROUTER_HOST, RESOLVER_HOST, FIRST_HOST, NOWHERE = 1, 2, 3, 10, 254
NETWORK: Final = "lab"
SIDECAR: Final = ".agent"
IDLE: Final = (None, ["sleep", "infinity"])
CAPABILITIES: Final = ["NET_ADMIN", "NET_RAW"]
"""Interfaces, routes, rules, sockets of others (sock_diag), TCP_REPAIR; AF_PACKET."""
OF_THE_CLIENT: Final = ["KILL", "SYS_PTRACE"]
"""To end a client that hangs in its own container: signals, and whose environment has our mark."""


@dataclass(frozen=True)
class Slice:
    """One lab's share of the address space, by number from 0 to SLICES - 1."""

    number: int

    def subnet(self, family: Family) -> str:
        """The lab's network."""
        return f"{self._prefix(family)}0/24" if family == "ipv4" else f"{self._prefix(family)}/64"

    def address(self, host: int, family: Family) -> str:
        """The address of a host in it, written as packets are decoded (RFC 5952)."""
        return str(ip_address(self._prefix(family) + (f"{host}" if family == "ipv4" else f"{host:x}:2")))

    def nowhere(self, client: int, family: Family) -> str:
        """An address that belongs to nobody; in IPv6 the nearest to this client's own (netns.py has the reason)."""
        return self.address(NOWHERE, family) if family == "ipv4" else f"{self._prefix(family)}{client:x}:dead"

    def _prefix(self, family: Family) -> str:
        if family == "ipv6":
            return f"2001:db8:{self.number:x}::"
        return f"198.{18 + self.number // 256}.{self.number % 256}."


def refusals(config: Mapping[str, Any]) -> list[str]:
    """What of this file cannot be kept apart, in words; nothing when all of it can."""
    found = [text for name, service in config["services"].items() for text in _of_service(name, service)]
    for kind in ("networks", "volumes"):
        for name, one in (config.get(kind) or {}).items():
            if one and one.get("external"):
                found.append(f"{kind[:-1]} `{name}` is external: a lab shares nothing with the outside")
    for name, one in (config.get("volumes") or {}).items():
        if one and (device := (one.get("driver_opts") or {}).get("device")):
            found.append(f"volume `{name}` is {device} of the host: a lab shares nothing with the outside")
    return found


SHARED: Final = (
    *("privileged", "container_name", "external_links", "volumes_from", "devices", "device_cgroup_rules"),
    *("mac_address", "use_api_socket"),
)


def _of_service(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    at = f"service `{name}`"
    mode = service.get("network_mode")
    if mode not in (None, "bridge"):
        yield f"{at}: network_mode `{mode}`: the lab needs the service in a network namespace of its own"
    for key in SHARED:
        if service.get(key):
            yield f"{at}: `{key}` cannot be kept apart from the host or from another lab"
    for key in ("pid", "ipc", "userns_mode", "uts", "cgroup"):
        if service.get(key) not in (None, "private", "shareable"):
            yield f"{at}: `{key}: {service[key]}` cannot be kept apart from the host"
    yield from (f"{at}: {text}" for text in (*_fixed(service), *_mounted(service)))
    replicas = service.get("scale") or (service.get("deploy") or {}).get("replicas") or 1
    if replicas != 1:
        yield f"{at}: {replicas} replicas: a node is one container"


def _fixed(service: Mapping[str, Any]) -> Iterator[str]:
    for network, options in (service.get("networks") or {}).items():
        for key in ("ipv4_address", "ipv6_address", "mac_address"):
            if options and options.get(key):
                yield f"fixed `{key}` in network `{network}`: addresses are assigned by the lab"


def _mounted(service: Mapping[str, Any]) -> Iterator[str]:
    for volume in service.get("volumes") or ():
        source = str(volume.get("source"))
        if volume.get("type") == "bind" and source.endswith("/docker.sock"):
            yield f"{source}: who has the engine's socket can change other labs, and the host"
        elif volume.get("type") == "bind" and not volume.get("read_only"):
            yield f"{source} of the host is mounted writable: mount it read-only (`:ro`)"


def carries_agent(service: Mapping[str, Any]) -> bool:
    """Whether the service is our own node image doing nothing, so that the agent can be what it runs."""
    idle = service.get("command") in IDLE and not service.get("entrypoint")
    return image.is_ours(service.get("image")) and idle


def image_of(config: Mapping[str, Any], name: str) -> str:
    """The image of a service; one that is built has the name that Compose gives it."""
    return str(config["services"][name].get("image") or f"{config['name']}-{name}")


def proxies(topology: Topology) -> list[str]:
    """The services that are a Toxiproxy."""
    return [service.name for service in topology.services.values() if service.proxy is not None]


TO_SERVE: Final = ["NET_BIND_SERVICE"]
"""Of the DNS server: its port is 53."""
DROPPED: Final = ("ports", "build", "profiles", "links", "networks", "network_mode", "restart", "x-chaos", "scale")


def generate(
    config: Mapping[str, Any], setting: Setting, share: Slice, labels: Mapping[str, str], project: str
) -> dict[str, Any]:
    """The whole file, as data."""
    named = {NETWORK: _network(setting.families, share, labels)}
    volumes = {name: {**(one or {}), "labels": dict(labels)} for name, one in (config.get("volumes") or {}).items()}
    for volume in volumes.values():
        volume.pop("name", None)  # so that it is the project's
    kept = {key: config[key] for key in ("configs", "secrets") if key in config}
    return {"name": project, "services": dict(_services(config, setting, share, labels)), "networks": named} | (
        {"volumes": volumes} if volumes else {}
    ) | kept  # fmt: skip


def _network(families: Sequence[Family], share: Slice, labels: Mapping[str, str]) -> dict[str, Any]:
    six = "ipv6" in families
    wanted: Sequence[Family] = ("ipv4", "ipv6") if six else ("ipv4",)
    pools = [{"subnet": share.subnet(each), "gateway": share.address(GATEWAY, each)} for each in wanted]
    more = {"enable_ipv6": True} if six else {}
    return {"internal": True, "labels": dict(labels), "ipam": {"config": pools}, **more}


def _services(
    config: Mapping[str, Any], setting: Setting, share: Slice, labels: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    for index, (name, service) in enumerate(config["services"].items()):
        kept = {key: value for key, value in service.items() if key not in DROPPED}
        kept["image"] = image_of(config, name)
        if "deploy" in kept:
            kept["deploy"] = {key: value for key, value in kept["deploy"].items() if key != "restart_policy"}
        kept["labels"] = {**(kept.get("labels") or {}), **labels}
        kept["networks"] = _place(share, FIRST_HOST + index, setting.families)
        if name in proxies(setting.topology):
            kept["command"] = list(toxiproxy.ARGUMENTS)
        if carries_agent(service):
            yield name, kept | _agent(name, labels) | {"init": True, "labels": kept["labels"]}
            continue
        yield name, kept
        more = OF_THE_CLIENT if name == setting.client else []
        beside = {"network_mode": f"service:{name}"} | ({"pid": f"service:{name}"} if more else {"init": True})
        yield name + SIDECAR, _agent(name, labels, more) | beside
    if setting.path == "routed":
        yield ROUTER, _agent(ROUTER, labels) | {"init": True, "networks": _place(share, ROUTER_HOST, setting.families)}
    if setting.names == "dns":
        place = _place(share, RESOLVER_HOST, setting.families)
        yield RESOLVER, _agent(RESOLVER, labels, TO_SERVE) | {"init": True, "networks": place}


def _place(share: Slice, host: int, families: Sequence[Family]) -> dict[str, Any]:
    """Docker is told what we assign, so that it gives nothing else; the agent makes host addresses of them."""
    return {NETWORK: {f"{each}_address": share.address(host, each) for each in ("ipv4", *families)}}


def _agent(node: str, labels: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, Any]:
    """A container that is an agent: least capabilities, its sysctls writable, its output kept nowhere.

    AppArmor's docker-default forbids what systempaths allows: to write below /proc/sys/net.
    """
    return {
        "image": image.tag(),
        "entrypoint": None,
        "command": ["python3", "-m", "chaos.agent.serve", node],
        "stdin_open": True,
        "cap_drop": ["ALL"],
        "cap_add": [*CAPABILITIES, *more],
        "security_opt": ["systempaths=unconfined", "apparmor=unconfined", "no-new-privileges:true"],
        "logging": {"driver": "none"},
        "labels": dict(labels),
        "pull_policy": "never",
    }
