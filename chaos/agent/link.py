"""Operation `link`: take the node's link down, and bring it up again with what the kernel drops meanwhile.

That is its routes and its link-local addresses; other IPv6 addresses stay, because the lab sets
net.ipv6.conf.*.keep_addr_on_down (net/ipv6/addrconf.c, addrconf_ifdown()).
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from chaos.agent.serve import FAILED, MISSING, Agent, OperationFailed


def run(agent: Agent, *, do: str, interface: str = "eth0") -> Any:
    """`down` and `up` do it; `carrier` returns whether the link has one; each reads its result back."""
    if do == "down":
        agent.state["routes"] = [route for six in (False, True) for route in _routes(interface, six=six)]
        agent.state["link-local"] = _link_local(interface)
        _ip("link", "set", interface, "down")
    elif do == "up":
        _ip("link", "set", interface, "up")
        for address in agent.state.pop("link-local"):
            _ip("address", "replace", address, "dev", interface, "nodad")
        for route in sorted(agent.state.pop("routes"), key=lambda route: "via" in route):
            _ip("route", "add", *route)
    return "LOWER_UP" in json.loads(_ip("-json", "link", "show", "dev", interface))[0]["flags"]


def _link_local(interface: str) -> list[str]:
    """The link-local addresses of this interface, with their prefix lengths."""
    found = json.loads(_ip("-6", "-json", "address", "show", "dev", interface, "scope", "link") or "[]")
    told = [it for device in found for it in device.get("addr_info", ()) if it]  # some are empty: iproute2 6.1
    return [f"{it['local']}/{it['prefixlen']}" for it in told]


def _routes(interface: str, *, six: bool) -> list[list[str]]:
    """The static routes by this interface, as arguments of `ip route add`; those without a gateway come first."""
    found = []
    for route in json.loads(_ip("-6" if six else "-4", "-json", "route", "show", "dev", interface) or "[]"):
        if route.get("protocol") == "static":
            via = ["via", route["gateway"]] if "gateway" in route else []
            found.append([route["dst"], *via, "dev", interface, "proto", "static", "metric", str(route["metric"])])
    return found


def _ip(*arguments: str) -> str:
    argv = ["ip", *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        raise OperationFailed(kind=MISSING, tool="ip") from None
    if done.returncode:
        raise OperationFailed(kind=FAILED, argv=argv, status=done.returncode, stderr=done.stderr)
    return done.stdout
