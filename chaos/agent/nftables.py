"""The rules of iptables as nf_tables holds them: counted, deleted, and made once more, without starting iptables.

iptables-nft, which most distributions call iptables, writes rules of nf_tables: a rule's matches as expressions, among
them `counter`, and `match comment` with our own name for the rule (iptables-extensions(8), comment). A program that
adds, reads or deletes one costs 3 ms of a processor, a request to the kernel a thirtieth. What iptables makes of a rule
is therefore looked up in the kernel, and the next one like it is made of the same expressions. Where iptables is the
older one, the kernel has no such rules, and `found` says so by leaving them out.

Layouts: include/uapi/linux/netfilter/{nfnetlink,nf_tables,nf_tables_compat,xt_comment}.h. Numbers are big-endian.
"""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from chaos.agent.netlink import NLM_F_CREATE, Netlink, attribute, attributes, elements

NETLINK_NETFILTER = 12
SUBSYSTEM = 10
NEW_TABLE, NEW_CHAIN, GET_CHAIN, NEW_RULE, GET_RULE, DELETE_RULE = (SUBSYSTEM << 8 | n for n in (0, 3, 4, 6, 7, 8))
BATCH_BEGIN, BATCH_END = 0x10, 0x11
TABLE_NAME = 1
CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE = 1, 3, 4, 7
RULE_TABLE, RULE_CHAIN, RULE_HANDLE, RULE_EXPRESSIONS, RULE_COMPAT = 1, 2, 3, 4, 5
COMPAT_PROTOCOL, COMPAT_FLAGS = 1, 2
LIST_ELEMENT, EXPR_NAME, EXPR_DATA = 1, 1, 2
COUNTER_BYTES, COUNTER_PACKETS = 1, 2
MATCH_NAME, MATCH_INFO = 1, 3
COMMENT = 256
"""Bytes of a comment (struct xt_comment_info)."""
NLM_F_APPEND = 0x800
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
"""Those that rules of ours name; others have their number."""
FAMILIES = {"iptables": socket.AF_INET, "ip6tables": socket.AF_INET6}


@dataclass(frozen=True)
class Rule:
    """A rule of ours: its comment, where it is, and how many packets it has matched."""

    comment: str
    chain: str
    handle: bytes
    packets: int
    expressions: bytes


class Template(TypedDict):
    """What makes a rule like another one; bytes are base64. A chain is what iptables made of a built-in one."""

    chain: dict[str, str]
    expressions: str
    protocol: int


class Tables:
    """The rules of the network namespace that we are in, by a socket that stays open: before one is closed, the kernel
    destroys what was deleted, and waits for RCU, ten milliseconds or twenty (nf_tables_api.c, nft_rcv_nl_event()).
    """

    @cached_property
    def _netlink(self) -> Netlink:
        """Raises OSError where the kernel has no such tables."""
        return Netlink(NETLINK_NETFILTER)

    def close(self) -> None:
        """Let go of it, if it was asked for anything."""
        if "_netlink" in self.__dict__:
            self._netlink.close()

    def found(self, tool: str, table: str, comments: Collection[str]) -> list[Rule]:
        """Those rules of a table that have one of these comments; `tool` is iptables or ip6tables."""
        body = _head(FAMILIES[tool]) + attribute(RULE_TABLE, table)
        try:
            rules = [_parsed(message) for message in self._netlink.dump(GET_RULE, body)]
        except OSError:
            return []  # this kernel has no nf_tables
        return [rule for rule in rules if rule is not None and rule.comment in comments]

    def templates(self, tool: str, table: str, rules: Sequence[Sequence[str]], named: Sequence[str]) -> list[Template]:
        """Of these rules, known by their comments, what makes more of each; none of them where one was not found.

        A rule's own `-p` is told to matches and targets beside the expressions, from which it does not come back.
        """
        there = {rule.comment: rule for rule in self.found(tool, table, named)}
        if any(name not in there for name in named):
            return []
        chains = {}
        for message in self._netlink.dump(GET_CHAIN, _head(FAMILIES[tool])):
            chain = attributes(message[4:])
            if _text(chain[CHAIN_TABLE]) == table:
                kept = {name: chain[name] for name in (CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE) if name in chain}
                chains[_text(chain[CHAIN_NAME])] = {str(name): _encoded(value) for name, value in kept.items()}
        return [
            {
                "chain": chains[there[name].chain],
                "expressions": _encoded(there[name].expressions),
                "protocol": _protocol(rule[rule.index("-p") + 1]) if "-p" in rule else 0,
            }
            for name, rule in zip(named, rules, strict=True)
        ]

    def add(self, tool: str, table: str, named: Mapping[str, Template]) -> None:
        """Append a rule for each comment, in one transaction. Raises OSError."""
        head = _head(FAMILIES[tool])
        with self._transaction() as netlink:
            netlink.request(NEW_TABLE, head + attribute(TABLE_NAME, table), NLM_F_CREATE, "add a table")
            for comment, template in named.items():
                chain = {int(name): base64.b64decode(value) for name, value in template["chain"].items()}
                told = b"".join(attribute(name, value) for name, value in chain.items())
                netlink.request(NEW_CHAIN, head + attribute(CHAIN_TABLE, table) + told, NLM_F_CREATE, "add a chain")
                body = head + attribute(RULE_TABLE, table) + attribute(RULE_CHAIN, chain[CHAIN_NAME])
                body += attribute(RULE_EXPRESSIONS, _anew(base64.b64decode(template["expressions"]), comment))
                compat = attribute(COMPAT_PROTOCOL, template["protocol"].to_bytes(4, "big"))
                body += attribute(RULE_COMPAT, compat + attribute(COMPAT_FLAGS, bytes(4)))
                netlink.request(NEW_RULE, body, NLM_F_CREATE | NLM_F_APPEND, f"add the rule {comment}")

    def delete(self, tool: str, table: str, rules: Collection[Rule]) -> None:
        """Delete exactly these, in one transaction. Raises OSError."""
        family = FAMILIES[tool]
        with self._transaction() as netlink:
            for rule in rules:
                where = attribute(RULE_TABLE, table) + attribute(RULE_CHAIN, rule.chain)
                what = f"delete the rule {rule.comment}"
                netlink.request(DELETE_RULE, _head(family) + where + attribute(RULE_HANDLE, rule.handle), what=what)

    @contextmanager
    def _transaction(self) -> Iterator[Netlink]:
        """What is requested inside is done together, or none of it."""
        edge = _head(socket.AF_UNSPEC, SUBSYSTEM)
        with self._netlink.together():
            self._netlink.request(BATCH_BEGIN, edge)
            yield self._netlink
            self._netlink.request(BATCH_END, edge)


def _anew(expressions: bytes, comment: str) -> bytes:
    """The same with another comment, and nothing counted."""
    found = b""
    for name, data in _expressions(expressions):
        told = data
        if name == "counter":
            told = _changed(data, {COUNTER_BYTES: bytes(8), COUNTER_PACKETS: bytes(8)})
        elif name == "match" and _text(attributes(data)[MATCH_NAME]) == "comment":
            told = _changed(data, {MATCH_INFO: comment.encode().ljust(COMMENT, b"\0")})
        found += attribute(LIST_ELEMENT, attribute(EXPR_NAME, name) + attribute(EXPR_DATA, told))
    return found


def _changed(data: bytes, new: Mapping[int, bytes]) -> bytes:
    return b"".join(attribute(kind, new.get(kind, value)) for kind, value in attributes(data).items())


def _protocol(name: str) -> int:
    return PROTOCOLS[name] if name in PROTOCOLS else int(name)


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


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
    if comment is None:
        return None
    return Rule(comment, _text(rule[RULE_CHAIN]), rule[RULE_HANDLE], packets, rule[RULE_EXPRESSIONS])


def _expressions(data: bytes) -> Iterator[tuple[str, bytes]]:
    for element in elements(data):
        expression = attributes(element)
        yield _text(expression[EXPR_NAME]), expression.get(EXPR_DATA, b"")


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("ascii", "replace")
