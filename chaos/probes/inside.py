"""What works inside a lab: a connect over either family, the capture, iptables and all that it can answer, TUN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaos.errors import ChaosError, LabError
from chaos.probes.probe import Probe, tried

if TYPE_CHECKING:
    from chaos.backends.lab import AgentLab
    from chaos.model import Family, Setting

IPTABLES: Final = "apt-get install iptables"
MODULES: Final = "sudo modprobe -a ipt_REJECT ip6t_REJECT nft_compat"
BPF_MATCH: Final = "sudo modprobe xt_bpf"
TUN: Final = "sudo modprobe tun; sudo chmod 0666 /dev/net/tun (only relays in user space of your own need it)"
NAMES: Final = ("connect over IPv4", "capture", "ip", "iptables", "iptables REJECT", "iptables bpf match", "TUN")


def probes() -> Iterator[Probe]:
    """One lab for each family; where there can be none, every probe says so."""
    from chaos.backends.netns import Netns

    try:
        with Netns() as backend:
            with backend.start(setting("ipv4")) as lab:
                yield from _with(lab)
            yield tried(
                "connect over IPv6",
                lambda: _six(backend),
                "sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0",
                needed=True,
            )
    except LabError as error:
        for name in NAMES:
            yield Probe(name, False, f"not tried, there is no lab: {error}", needed=name != "TUN")


def setting(family: Family) -> Setting:
    """The smallest lab."""
    from chaos import topology
    from chaos.model import Setting

    return Setting(topology.find("client-server", Path.cwd()), family=family)


def _with(lab: AgentLab) -> Iterator[Probe]:
    yield tried("connect over IPv4", lambda: _connects(lab), "", needed=True)
    yield tried("capture", lambda: _captured(lab), "", needed=True)
    yield tried("ip", lambda: _said(lab, "ip", "-V"), "apt-get install iproute2", needed=True)
    yield tried("iptables", lambda: _arms(lab, "drop", segment="syn"), IPTABLES, needed=True)
    yield tried("iptables REJECT", lambda: _rejects(lab), MODULES, needed=True)
    yield tried("iptables bpf match", lambda: _arms(lab, "drop", segment=["ack", "data"]), BPF_MATCH, needed=True)
    yield tried("TUN", lambda: _said(lab, "ip", "tuntap", "add", "dev", "probe0", "mode", "tun") or "made one", TUN)


def _six(backend: Any) -> str:
    with backend.start(setting("ipv6")) as lab:
        connected = _connects(lab)
        rejected = _rejects(lab)
    return f"{connected}; REJECT: {rejected}"


def _connects(lab: AgentLab) -> str:
    from chaos.clients.socket import Socket

    outcome = Socket().attempt(lab)
    if outcome.error != "ok":
        raise LabError(f"the healthy network gave {outcome.error}: {outcome.message}")
    return f"a round trip in {(outcome.returned_ns - outcome.started_ns) / 1e6:.1f} ms"


def _captured(lab: AgentLab) -> str:
    seen, lost = len(lab.packets("client")), lab.lost["client"]
    if not seen or lost:
        raise LabError(f"{seen} packets seen, {lost} lost")
    return f"{seen} packets seen, none lost"


def _said(lab: AgentLab, *argv: str) -> str:
    return str(lab.nodes["client"].call("command", argv=list(argv))).strip()


def _arms(lab: AgentLab, kind: str, **parameters: Any) -> str:
    """Arm a fault, and withdraw it."""
    from chaos import kinds

    with kinds.fault(kind, {"at": "server", **parameters}).inject(lab):
        return _said(lab, "iptables" if lab.setting.family == "ipv4" else "ip6tables", "-V")


def _rejects(lab: AgentLab) -> str:
    """Every answer that REJECT can give in the lab's family to what a node sends; raises with those that it cannot."""
    from chaos.faults._messages import REJECTS

    tries: list[tuple[str, Callable[[], str]]] = [("tcp-reset", lambda: _arms(lab, "reset", segment="syn"))]
    for (number, code), option in REJECTS[lab.setting.family].items():
        said = {"at": "client", "type": number, "code": code}
        tries.append((option, lambda said=said: _arms(lab, "icmp", **said)))  # type: ignore[misc]
    refused = {}
    for option, arm in tries:
        try:
            arm()
        except ChaosError as error:
            refused[option] = error
    if refused:
        raise LabError(f"{', '.join(refused)}: {next(iter(refused.values()))}")
    return ", ".join(option for option, _ in tries)
