"""The rules of iptables as nf_tables holds them: their counters read and themselves deleted, without starting iptables.

iptables-nft, which most distributions call iptables, writes rules of nf_tables: a rule's matches as expressions, among
them `counter`, and `match comment` with our own name for the rule (iptables-extensions(8), comment). A program that
reads or deletes one costs 3 ms of a processor, a request to the kernel a thirtieth. Where iptables is the older one,
the kernel has no such rules, and `found` says so by leaving them out.

Layouts: include/uapi/linux/netfilter/{nfnetlink,nf_tables,nf_tables_compat,xt_comment}.h. Numbers are big-endian.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from chaos.agent.netlink import Netlink, attribute, attributes, elements

NETLINK_NETFILTER = 12
SUBSYSTEM = 10
GET_RULE, DELETE_RULE = SUBSYSTEM << 8 | 7, SUBSYSTEM << 8 | 8
BATCH_BEGIN, BATCH_END = 0x10, 0x11
RULE_TABLE, RULE_CHAIN, RULE_HANDLE, RULE_EXPRESSIONS = 1, 2, 3, 4
EXPR_NAME, EXPR_DATA = 1, 2
COUNTER_PACKETS = 2
MATCH_NAME, MATCH_INFO = 1, 3
FAMILIES = {"iptables": socket.AF_INET, "ip6tables": socket.AF_INET6}


@dataclass(frozen=True)
class Rule:
    """A rule of ours: its comment, where it is, and how many packets it has matched."""

    comment: str
    chain: str
    handle: bytes
    packets: int


def found(tool: str, table: str, comments: Collection[str]) -> list[Rule]:
    """Those rules of a table that have one of these comments; `tool` is iptables or ip6tables."""
    body = _head(FAMILIES[tool]) + attribute(RULE_TABLE, table)
    try:
        with Netlink(NETLINK_NETFILTER) as netlink:
            rules = [_parsed(message) for message in netlink.dump(GET_RULE, body)]
    except OSError:
        return []  # this kernel has no nf_tables
    return [rule for rule in rules if rule is not None and rule.comment in comments]


def delete(tool: str, table: str, rules: Collection[Rule]) -> None:
    """Delete exactly these, in one transaction. Raises OSError."""
    family = FAMILIES[tool]
    with Netlink(NETLINK_NETFILTER) as netlink, netlink.together():
        netlink.request(BATCH_BEGIN, _head(socket.AF_UNSPEC, SUBSYSTEM))
        for rule in rules:
            where = attribute(RULE_TABLE, table) + attribute(RULE_CHAIN, rule.chain)
            what = f"delete the rule {rule.comment}"
            netlink.request(DELETE_RULE, _head(family) + where + attribute(RULE_HANDLE, rule.handle), what=what)
        netlink.request(BATCH_END, _head(socket.AF_UNSPEC, SUBSYSTEM))


def _head(family: int, resource: int = 0) -> bytes:
    """struct nfgenmsg."""
    return struct.pack("!BBH", family, 0, resource)


def _parsed(message: bytes) -> Rule | None:
    """A rule with a comment; None for any other."""
    rule = attributes(message[4:])
    comment, packets = None, 0
    for name, data in _expressions(rule.get(RULE_EXPRESSIONS, b"")):
        if name == "counter":
            packets = int.from_bytes(attributes(data)[COUNTER_PACKETS], "big")
        elif name == "match" and _text(attributes(data)[MATCH_NAME]) == "comment":
            comment = _text(attributes(data)[MATCH_INFO])
    return None if comment is None else Rule(comment, _text(rule[RULE_CHAIN]), rule[RULE_HANDLE], packets)


def _expressions(data: bytes) -> Iterator[tuple[str, bytes]]:
    for element in elements(data):
        expression = attributes(element)
        yield _text(expression[EXPR_NAME]), expression.get(EXPR_DATA, b"")


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("ascii", "replace")
