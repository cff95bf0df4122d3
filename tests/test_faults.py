"""Every kind of fault, against a lab without a kernel: what it does, and that leaving it undoes exactly that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import kinds, topology
from chaos.backends.fake import Fake, Operation
from chaos.backends.lab import AgentLab
from chaos.effect import Effect
from chaos.errors import CommandFailed, LabError
from chaos.model import RESOLVER, Armed, Endpoint, Family, Fault, Listen, Service, Setting

SERVER, SERVER6, NOWHERE = "198.18.2.2", "2001:db8:0:2::2", "198.19.255.254"
PATH = "/run/connect-chaos/client.8080"
SYN = "-p tcp --dport 8080 --tcp-flags SYN,ACK,RST,FIN SYN"

COUNTED, NEW = "-m connlimit --connlimit-above", "-m conntrack --ctstate NEW"
ELSEWHERE = ("ip link add other0 up arp off type veth peer name other1", "ip link set other1 up")

# kind and parameters (with `family` where it is not IPv4): what is asked of the nodes to arm it, questions left out.
ARMING: dict[str, list[str]] = {
    "drop {at: server, segment: syn}": [f"server iptables -A INPUT {SYN} -j DROP"],
    "drop {at: client, segment: syn}": [f"client iptables -A OUTPUT {SYN} -j DROP"],
    "drop {at: router, segment: syn-ack}": ["router wire arm syn-ack 8080 1.. drop"],
    "drop {at: router, segment: [syn, fin], from: client, to: server, port: 9, larger: 99, nth: 2, family: ipv6}": [
        f"router wire arm syn+fin 9 from 2001:db8:0:1::2 to {SERVER6} larger 99 2..2 drop"
    ],
    "delay {segment: syn-ack, by: 1.5s, nth: 1..2}": ["router wire arm syn-ack 8080 1..2 delay by=1.5"],
    "duplicate {segment: syn}": ["router wire arm syn 8080 1.. duplicate"],
    "reorder {segment: data, nth: 3..}": ["router wire arm data 8080 3.. reorder"],
    "corrupt {segment: data, seed: 5}": ["router wire arm data 8080 1.. corrupt what=bit seed=5"],
    "truncate {segment: data, keep: 30}": ["router wire arm data 8080 1.. truncate keep=30"],
    "bandwidth {rate: 1000, queue: 3000, to: server}": [
        f"router wire arm any 8080 to {SERVER} 1.. bandwidth rate=1000 queue=3000"
    ],
    "icmp {at: router, type: 11, nth: ..3}": [
        "router wire arm syn 8080 1..3 icmp type=11 code=0 mtu=0 sources=198.18.1.1+198.18.2.1"
    ],
    "icmp {at: router, type: packet-too-big, mtu: 1300, segment: data, family: ipv6}": [
        "router wire arm data 8080 larger 1300 1.. icmp type=2 code=0 mtu=1300 sources=2001:db8:0:1::1+2001:db8:0:2::1"
    ],
    "drop {at: server, segment: any}": [
        "server iptables -A INPUT -p tcp --dport 8080 -j DROP",
        "server iptables -A OUTPUT -p tcp --sport 8080 -j DROP",
    ],
    "reset {at: router}": [f"router iptables -A FORWARD -i wire0 {SYN} -j REJECT --reject-with tcp-reset"],
    "icmp {at: server, type: 3, code: 13}": [
        "server answers syn 8080 with 3/13",
        f"server iptables -A INPUT {SYN} -j DROP",
    ],
    "icmp {at: client, type: port-unreachable, family: ipv6}": [
        "client answers syn 8080 with 1/4",
        f"client ip6tables -A OUTPUT {SYN} -j REJECT --reject-with icmp6-port-unreachable",
    ],
    "closed-port {at: server}": ["server listener ends"],
    "never-accept {at: server, backlog: 5}": ["server listener ends", "server listener never-accept accept 5 0"],
    "backlog-full {at: server, backlog: 1}": [
        "server sysctl net/ipv4/tcp_abort_on_overflow=0",
        "server listener ends",
        "server listener never-accept accept 1 2",
    ],
    "silent {at: server}": ["server listener ends", "server listener silent accept 128 0"],
    "close {at: server, after: data}": ["server listener ends", "server listener close data 128 0"],
    "abort {at: server, after: 7}": ["server listener ends", "server listener abort 7 128 0"],
    "forget {at: server}": ["server listener ends", "server listener forget accept 128 0"],
    "frozen {at: server}": ["server listener ends", "server listener serve accept 128 0", "server listener stops"],
    "accept-fails {at: server}": ["server listener ends", "server listener no-descriptors accept 128 0"],
    "no-descriptors {at: client}": ["client descriptors socket"],
    "no-descriptors {at: client, before: resolve}": ["client descriptors resolve"],
    "ports-exhausted {at: client, ports: 3}": [
        "client sysctl net/ipv4/ip_local_port_range=61000 61002",
        f"client holders {SERVER} 8080 3",
    ],
    "connection-limit {at: server, above: 2}": [
        f"server iptables -A INPUT {SYN} {COUNTED} 2 --connlimit-mask 32 -j REJECT --reject-with tcp-reset",
        f"client holders {SERVER} 8080 2",
    ],
    "connection-limit {at: router, answer: drop, family: ipv6}": [
        f"router ip6tables -A FORWARD -i wire0 {SYN} {COUNTED} 1 --connlimit-mask 128 -j DROP",
        f"client holders {SERVER6} 8080 1",
    ],
    "conntrack-full {at: router}": [
        f"router iptables -A FORWARD -i wire0 {SYN} {NEW} {COUNTED} 1 --connlimit-mask 0 -j DROP",
        f"client holders {SERVER} 8080 1",
    ],
    "syn-queue-full {at: server, backlog: 3}": [
        *(f"server {line}" for line in ELSEWHERE),
        f"server ip route del {NOWHERE} via 198.18.2.1 dev eth0 proto static metric 1024",
        f"server ip route add {NOWHERE} dev other0 metric 1",
        "server sysctl net/ipv4/tcp_syncookies=0",
        "server listener ends",
        "server listener serve accept 3 0",
        f"server half_open {SERVER} 8080 {NOWHERE} 5",
    ],
    "queue-overflow {at: server}": [
        "server sysctl net/ipv4/tcp_abort_on_overflow=1",
        "server listener ends",
        "server listener never-accept accept 1 1",
        f"server overflow eth0 {SERVER} 8080",
    ],
    "forged-reset {at: router, sequence: in-window, after: data}": [
        f"router forged_reset wire1 {SERVER} 8080 in-window data"
    ],
    "asymmetric-route {at: server}": [
        *(f"server {line}" for line in ELSEWHERE),
        "server ip route del 198.18.1.2 via 198.18.2.1 dev eth0 proto static metric 1024",
        "server ip route add 198.18.1.2 dev other0 metric 1",
        "server sysctl net/ipv4/conf/eth0/rp_filter=1",
    ],
    "asymmetric-route {at: router, family: ipv6}": [
        "client ip neigh replace 2001:db8:0:1::1 dev eth0 lladdr 02:00:00:00:00:01 nud permanent",
        *(f"router {line}" for line in ELSEWHERE),
        "router ip route del 2001:db8:0:1::2 dev to-client proto static metric 1024",
        "router ip route add 2001:db8:0:1::2 dev other0 metric 1",
        "router ip6tables -A PREROUTING -i to-client -p tcp --syn -m rpfilter --invert -j DROP",
    ],
    "duplicate-address {at: server, by: other}": [
        f"client ip neigh replace {SERVER} dev eth0 use",
        f"other ip address add {SERVER}/32 dev eth0",
        f"other announce {SERVER} eth0",
    ],
    "duplicate-address {at: server, by: other, family: ipv6}": [
        "server sysctl net/ipv6/conf/eth0/accept_dad=1",
        f"server ip address del {SERVER6}/128 dev eth0",
        f"other ip address add {SERVER6}/128 dev eth0 nodad",
        f"server ip address add {SERVER6}/128 dev eth0",
    ],
    "route {at: client, kind: prohibit}": [f"client ip route add prohibit {SERVER} metric 1"],
    "route {at: router, kind: unreachable, to: client}": ["router ip route add unreachable 198.18.1.2 metric 1"],
    "route {at: router, kind: missing, family: ipv6}": [
        f"router ip route del {SERVER6} dev to-server proto static metric 1024"
    ],
    "route {at: client, kind: missing}": [
        f"client ip route del {SERVER} via 198.18.1.1 dev eth0 proto static metric 1024"
    ],
    "no-neighbour {at: client}": [
        "router sysctl net/ipv4/conf/to-client/arp_ignore=8",
        "client ip ntable change name arp_cache dev eth0 retrans 100 mcast_probes 3",
        "client quiesce",
    ],
    "no-neighbour {at: server}": [
        "router sysctl net/ipv4/conf/to-server/arp_ignore=8",
        "server ip ntable change name arp_cache dev eth0 retrans 100 mcast_probes 3",
        f"router ip neigh replace {SERVER} dev to-server lladdr 02:00:00:00:00:01 nud permanent",
        "server quiesce",
    ],
    "route {at: server, kind: blackhole}": ["server ip route add blackhole 198.18.1.2 metric 1"],
    "no-neighbour {at: router, family: ipv6}": [
        "server ip6tables -A INPUT -i eth0 -p icmpv6 --icmpv6-type neighbour-solicitation -j DROP",
        "router ip ntable change name ndisc_cache dev to-server retrans 100 mcast_probes 3",
        "router quiesce",
    ],
    "link-down {at: client}": ["client link eth0 down"],
    "link-down {at: router}": ["router link to-server down"],
    "drop {at: client, segment: any, socket: datagram}": [
        "client iptables -A OUTPUT -p udp --dport 8080 -j DROP",
        "client iptables -A INPUT -p udp --sport 8080 -j DROP",
    ],
    "drop {at: router, segment: any, socket: datagram}": [
        "router iptables -A FORWARD -i wire0 -p udp --dport 8080 -j DROP",
        "router iptables -A FORWARD -i wire0 -p udp --sport 8080 -j DROP",
    ],
    "drop {at: server, segment: any, socket: raw, family: ipv6}": [
        "server ip6tables -A INPUT -p 253 -j DROP",
        "server ip6tables -A OUTPUT -p 253 -j DROP",
    ],
    "closed-port {at: server, socket: datagram}": ["server listener ends"],
    "vanish {at: server, after: data}": ["server listener ends", "server listener vanish data 128 0"],
    "port-taken {at: client}": ["client occupy 198.18.1.2 5555 stream"],
    "simultaneous-open {at: server}": [
        "server listener ends",
        f"router wire arm syn 8080 from 198.18.1.2 to {SERVER} 1.. meet",
        "server crossing 198.18.2.2 8080 to 198.18.1.2 5555",
    ],
    "socket-file {at: client, state: missing}": ["client listener ends", f"client pathname {PATH} unlink"],
    "socket-file {at: client, state: stale}": ["client listener ends"],
    "socket-file {at: client, state: forbidden}": [
        "client listener ends",
        "client listener serve accept 128 0",
        f"client pathname {PATH} mode 0",
    ],
    "socket-file {at: client, state: other-type}": [
        "client listener ends",
        "client listener serve accept 128 0 datagram",
    ],
    "socket-file {at: client, state: full}": ["client listener ends", "client listener never-accept accept 1 2"],
    "dns {answer: nxdomain}": ["dns answers nxdomain 0.0 True"],
    "dns {answer: slow, by: 2s, family: ipv6}": ["dns answers slow 2.0 True"],
    "dns {answer: truncated, tcp: false}": ["dns answers truncated 0.0 False"],
    "proxy-down {}": ["toxiproxy enable chaos False"],
    "toxic {type: latency, latency: 200ms}": [
        "toxiproxy add chaos latency downstream 1.0 {'latency': 200, 'jitter': 0}",
    ],
    "toxic {type: slicer, stream: upstream, toxicity: 0.5, average_size: 9, delay: 1ms, family: ipv6}": [
        "toxiproxy add chaos-ipv6 slicer upstream 0.5 {'average_size': 9, 'size_variation': 0, 'delay': 1000}",
    ],
}
DOES = {
    "holders": ("address", "port", "count"),
    "half_open": ("address", "port", "source", "count"),
    "overflow": ("interface", "address", "port"),
    "forged_reset": ("interface", "address", "port", "sequence", "after"),
    "descriptors": ("before",),
    "announce": ("address", "interface"),
}
"""What is told of an operation."""
NAMED = ["wrong-address {at: client}", "dead-address {at: client}", "dns {answer: wrong}"]
"""Faults whose rule names an address that the lab chooses."""
SHOWS = f"127.0.0.1 localhost/198.18.1.2 client/{NOWHERE} server"


def test_no_kind_is_forgotten() -> None:
    tested = {name.partition(" ")[0] for name in [*ARMING, *NAMED]}
    assert tested == set(kinds.faults())


def parsed(name: str) -> tuple[Fault, Setting]:
    import yaml

    kind, _, text = name.partition(" ")
    parameters = yaml.safe_load(text)
    family: Family = parameters.pop("family", "ipv4")
    inside, shared = kind in ("toxic", "proxy-down"), kind == "duplicate-address"
    where = setting(family, inside=inside, shared=shared)
    where = replace(where, type=parameters.pop("socket", "stream"), bound=5555)
    if kind == "socket-file":
        where = replace(where, local=True, listen=Listen("client"))
    return kinds.fault(kind, parameters), with_resolver(where) if kind == "dns" else where


def setting(family: Family = "ipv4", *, inside: bool = False, shared: bool = False) -> Setting:
    """Where a fault is armed; one that is inside a Toxiproxy needs one, one of a shared link needs that."""
    name, target = ("toxiproxy", Endpoint("toxiproxy", 8666)) if inside else ("client-server", Setting.target)
    if shared:
        return Setting(topology.find("one-link", Path.cwd()), family=family, path="direct", target=target)
    return Setting(topology.find(name, Path.cwd()), family=family, target=target)


def with_resolver(where: Setting) -> Setting:
    """The same with names from DNS."""
    services = {**where.topology.services, RESOLVER: Service(RESOLVER, resolver=True)}
    return replace(where, names="dns", topology=replace(where.topology, services=services))


@contextmanager
def lab_of(fake: Fake, where: Setting) -> Iterator[AgentLab]:
    with fake, fake.start(where) as lab:
        fake.operations.clear()
        yield lab


def brief(operations: list[Operation]) -> list[str]:
    """What was done, without the questions."""
    return [text for operation in operations for text in _brief(operation.node, operation, operation.arguments)]


def _brief(node: str, it: Operation, said: Any) -> Iterator[str]:
    if it.name == "child":
        yield from _of_child(node, it, said)
    if it.name == "firewall" and said["do"] != "count":
        letter = {"add": "-A", "delete": "-D"}[said["do"]]
        for rule in said["rules"]:
            assert rule[-4:-1] == ("-m", "comment", "--comment"), "each rule has a comment of its own"
            yield f"{node} {said['tool']} {letter} {' '.join(rule[:-4])}"
    elif it.name == "sysctl" and said.get("write"):
        yield from (f"{node} sysctl {name}={value}" for name, value in said["write"])
    elif it.name == "link":
        yield f"{node} link {said['interface']} {said['do']}"
    elif it.name == "names":
        yield f"{node} names {said['hosts'].strip().replace(chr(10), '/')}"
    elif it.name == "quiesce":
        yield f"{node} quiesce"
    elif it.name == "wire" and said["do"] == "arm":
        yield f"{node} wire arm {_match(**said['rule']['match'])}{_action(**said['rule']['action'])}"
    else:
        yield from _of_sockets(node, it, said)


def _of_sockets(node: str, it: Operation, said: Any) -> Iterator[str]:
    if it.name == "pathname" and len(said) > 1:
        yield f"{node} pathname {said['path']} {'unlink' if 'unlink' in said else 'mode ' + str(said['mode'])}"
    elif it.name == "listener":
        other = "" if said["kind"] == "stream" else f" {said['kind']}"
        yield f"{node} listener {said['do']} {said['after']} {said['backlog']} {said['fill']}{other}"
    elif it.name == "answer":
        message, match = said["message"], said["match"]
        yield f"{node} answers {'+'.join(match['segments'])} {match['port']} with {message['type']}/{message['code']}"
    elif it.name == "occupy":
        yield f"{node} occupy {said['address']} {said['port']} {said['kind']}"
    elif it.name == "crossing":
        (here, port), (there, dialled) = said["here"], said["there"]
        yield f"{node} crossing {here} {port} to {there} {dialled}"
    else:
        yield from _told_whole(node, it, said)


def _told_whole(node: str, it: Operation, said: Any) -> Iterator[str]:
    if it.name == "command" and "show" not in said["argv"]:
        yield f"{node} {' '.join(said['argv'])}"
    elif it.name in DOES:
        yield f"{node} {it.name} {' '.join(str(said[name]) for name in DOES[it.name])}"


def _of_child(node: str, it: Operation, said: Any) -> Iterator[str]:
    if said.get("end"):
        yield f"{node} {it.child} ends"
    elif said.get("stop") is not None:
        yield f"{node} {it.child} {'stops' if said['stop'] else 'goes on'}"
    elif it.child == "toxiproxy":
        yield from _toxiproxy(node, **said["tell"]["toxiproxy"])
    elif it.child == "resolver" and "behave" in said["tell"]:
        told = said["tell"]["behave"]
        yield f"{node} answers {told['answer']} {told['by']} {told['tcp']}"


def _match(segments: list[str], port: int, nth: list[Any], version: int, **ends: Any) -> str:
    told = "".join(f"{end} {value} " for end, value in ends.items() if value)
    return f"{'+'.join(segments)} {port} {told}{nth[0]}..{nth[1] or ''} "


def _action(do: str, sources: Any = None, **said: Any) -> str:
    told = {**said, **({"sources": "+".join(sources.values())} if sources else {})}
    return " ".join([do, *(f"{name}={value}" for name, value in told.items())])


def _toxiproxy(node: str, do: str, name: str, **said: Any) -> Iterator[str]:
    if do == "add":
        toxic = said["toxic"]
        yield f"{node} add {name} {toxic['type']} {toxic['stream']} {toxic['toxicity']} {toxic['attributes']}"
    elif do == "enable":
        yield f"{node} enable {name} {said['enabled']}"


@pytest.mark.parametrize("name", ARMING)
def test_arming_does_this_and_nothing_else(name: str) -> None:
    fault, where = parsed(name)
    fake = Fake()
    with lab_of(fake, where) as lab, fault.inject(lab):
        assert brief(fake.operations) == ARMING[name]


@pytest.mark.parametrize("name", [*ARMING, *NAMED])
@pytest.mark.parametrize("raises", [False, True], ids=["body-ends", "body-raises"])
def test_leaving_undoes_exactly_it(name: str, raises: bool) -> None:
    fault, where = parsed(name)
    fake = Fake()
    with lab_of(fake, where) as lab:
        before, target = fake.settings(), lab.target_address
        with pytest.raises(KeyError) if raises else ExitStack(), fault.inject(lab):
            armed = fake.settings()
            assert armed != before
            if raises:
                raise KeyError
        assert fake.settings() == before
        assert lab.target_address == target


@pytest.mark.parametrize("name", [*ARMING, *NAMED])
def test_whatever_fails_while_it_arms_nothing_of_it_is_left(name: str) -> None:
    """The n-th operation fails, for every n: what came before is undone."""
    fault, where = parsed(name)
    number = 0
    while fails_at(fault, where, number):
        number += 1
    assert number > 0


def fails_at(fault: Fault, where: Setting, number: int) -> bool:
    """Whether arming has an operation of this number; it fails, and the lab must be as it was."""
    left = [number]

    def failing(operation: Operation) -> None:
        left[0] -= 1
        if left[0] == -1 and armed:
            raise CommandFailed(["it"], 1, "fails")

    fake, armed = Fake(failing), []
    with lab_of(fake, where) as lab:
        before, left[0] = fake.settings(), number
        armed.append(True)
        try:
            with fault.inject(lab):
                armed.clear()
        except CommandFailed:
            assert fake.settings() == before
            return True
    return False


def test_faults_nest_and_are_undone_in_reverse_order() -> None:
    names = ["drop {at: server, segment: syn}", "link-down {at: server}", "route {at: client, kind: prohibit}"]
    fake = Fake()
    with lab_of(fake, setting()) as lab:
        with ExitStack() as undo:
            for name in names:
                undo.enter_context(parsed(name)[0].inject(lab))
            fake.operations.clear()
        assert brief(fake.operations) == [
            f"client ip route del prohibit {SERVER} metric 1",
            "server link eth0 up",
            f"server iptables -D INPUT {SYN} -j DROP",
        ]


def test_a_wrong_address_is_the_client_s_alone() -> None:
    fake = Fake()
    with lab_of(fake, setting()) as lab, parsed("wrong-address {at: client}")[0].inject(lab):
        rule, names = brief(fake.operations)
        assert rule.startswith("router iptables -A ")
        assert f"-d {NOWHERE}" in rule
        assert names == f"client names {SHOWS}"
        assert lab.target_address == NOWHERE
        assert lab.nodes["client"].call("command", argv=["getent", "hosts", "server"]) == f"{NOWHERE} server\n"
        assert lab.nodes["server"].call("command", argv=["getent", "hosts", "server"]) == f"{SERVER} server\n"


def test_a_wrong_answer_is_the_dns_server_s() -> None:
    fake = Fake()
    fault, where = parsed("dns {answer: wrong}")
    with lab_of(fake, where) as lab, fault.inject(lab):
        assert fake.agents["dns"].zone["server"] == [NOWHERE]
        assert lab.target_addresses == {NOWHERE}
        assert brief(fake.operations)[1:] == ["dns answers honest 0.0 True"]


def test_a_dead_address_comes_before_the_right_one() -> None:
    fake = Fake()
    with lab_of(fake, setting()) as lab, parsed("dead-address {at: client}")[0].inject(lab):
        _, names = brief(fake.operations)
        assert names == f"client names {SHOWS}/{SERVER} server"
        assert lab.target_address == SERVER
        assert lab.target_addresses == {NOWHERE, SERVER}


def armed_hits(name: str, **agents: dict[str, Any]) -> int:
    """What a fault counts when the nodes answer so."""
    fault, where = parsed(name)
    fake = Fake()
    with lab_of(fake, where) as lab, fault.inject(lab) as armed:
        for node, answers in agents.items():
            for field, value in answers.items():
                setattr(fake.agents[node], field, value)
        return armed.hits()


@pytest.mark.parametrize("name", ["drop {at: server, segment: any}", "reset {at: router}"])
def test_packet_faults_count_what_their_rules_matched(name: str) -> None:
    rules = len(ARMING[name])
    assert armed_hits(name, server={"matched": 3}, router={"matched": 3}) == 3 * rules
    assert armed_hits(name) == 0


@pytest.mark.parametrize("kind", ["abort", "forget", "close", "silent", "vanish"])
def test_faults_of_the_listener_count_the_connections_it_acted_on(kind: str) -> None:
    assert armed_hits(f"{kind} {{at: server}}", server={"acted": 2}) == 2
    assert armed_hits(f"{kind} {{at: server}}") == 0


def test_never_accept_counts_the_queue() -> None:
    assert armed_hits("never-accept {at: server}", server={"queue": {"accept": 1, "backlog": 128}}) == 1
    assert armed_hits("never-accept {at: server}") == 0


def test_a_simultaneous_open_counts_the_connections_that_came_of_it() -> None:
    assert armed_hits("simultaneous-open {at: server}", server={"acted": 1}) == 1
    assert armed_hits("simultaneous-open {at: server}") == 0


@pytest.mark.parametrize("name", ["port-taken {at: server}", "port-taken {at: router}"])
def test_a_port_of_another_node_is_nobody_s_business(name: str) -> None:
    assert armed_hits(name) == 0


def test_nothing_seen_is_no_hit() -> None:
    for name in ("closed-port {at: server}", "backlog-full {at: server}", "no-neighbour {at: client}"):
        assert armed_hits(name) == 0


def test_routes_that_did_not_change_prove_nothing() -> None:
    """The doubt is about what was read back, not about what was asked for."""
    fake = Fake()
    with lab_of(fake, setting()) as lab:
        fake.agents["client"].answer = lambda name, arguments: "[]"  # type: ignore[method-assign]
        with parsed("route {at: client, kind: prohibit}")[0].inject(lab) as armed:
            assert "are what they were" in (doubt_of(armed) or "")


def doubt_of(armed: Armed) -> str | None:
    from chaos.evidence import Evidence
    from chaos.model import Outcome

    return armed.unproven(Evidence(Outcome("ok", None, 0, 1), "client", {"client": ()}))


@pytest.mark.parametrize("name", [*ARMING, *NAMED])
def test_every_fault_says_what_it_does(name: str) -> None:
    fault, where = parsed(name)
    effect: Effect = fault.effect(where)  # type: ignore[attr-defined]
    assert effect.says
    assert all(each[:2] in ("> ", "< ") for each in effect.meets)


def test_a_dead_agent_is_named() -> None:
    fake = Fake()
    with lab_of(fake, setting()) as lab:
        lab.nodes["server"].channel.dead = True
        fault = parsed("drop {at: server, segment: syn}")[0]
        with pytest.raises(LabError, match="'server' died"), fault.inject(lab):
            pass


REFUSED = {
    "no-descriptors {at: server}": "for the server's there is accept-fails",
    "ports-exhausted {at: server}": "are those of who dials, 'client'",
    "accept-fails {at: client}": "acts on our listener, which is at 'server'",
    "queue-overflow {at: server}": "`link: {rtt: 50ms}` or more",
    "forged-reset {at: server}": "a third party on the path is the router",
    "forged-reset {at: router, sequence: in-window, after: syn}": "before the SYN-ACK there is no window",
    "asymmetric-route {at: client}": "and not to who sends it",
    "duplicate-address {at: server, by: client}": "a third host must take the address",
    "no-neighbour {at: client, of: server}": "the neighbour of 'client' is the router",
}
"""What cannot be, and what `validate` says of it."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_act_is_refused(name: str) -> None:
    fault, where = parsed(name)
    told = list(fault.check(where, None))  # type: ignore[attr-defined]
    assert [message for _, message in told if REFUSED[name] in message]
    assert {key for key, _ in told} <= {"at", "by", "of", "sequence"}


def test_a_duplicate_address_needs_a_link_that_is_shared() -> None:
    fault, _ = parsed("duplicate-address {at: server, by: other}")
    [(key, message)] = fault.check(setting(), None)  # type: ignore[attr-defined]
    assert (key, "say `path: direct`" in message) == ("at", True)


@pytest.mark.parametrize("name", ["connection-limit {at: server}", "conntrack-full {at: router}"])
def test_a_limit_is_doubted_when_nothing_was_there_before_it(name: str) -> None:
    kind, _, rest = name.partition(" ")
    more = "above" if kind == "connection-limit" else "entries"
    fault, where = parsed(f"{kind} {rest[:-1]}, {more}: 3}}")
    with lab_of(Fake(), where) as lab, fault.inject(lab) as armed:
        assert "only 1 of 3 connections" in (doubt_of(armed) or "")  # the fake makes one


def test_a_stopped_listener_is_not_asked() -> None:
    fault, where = parsed("frozen {at: server}")
    fake = Fake()
    with lab_of(fake, where) as lab, fault.inject(lab):
        fake.operations.clear()
        assert lab.accepts() == []
        assert fake.operations == []
