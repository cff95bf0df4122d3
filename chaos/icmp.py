"""Which errno an ICMP error gives to a connect() that waits for its SYN-ACK.

IPv4: Linux net/ipv4/icmp.c `icmp_err_convert[]`, and net/ipv4/tcp_ipv4.c `tcp_v4_err()` for what is not type 3.
IPv6: Linux net/ipv6/icmp.c `icmpv6_err_convert()` and its `tab_unreach[]`, and net/ipv6/tcp_ipv6.c `tcp_v6_err()`.
In SYN_SENT the kernel ends the connect with every one of them, whether its table says `fatal` or not; path MTU
messages (3/4, and IPv6 type 2), redirects, source quench and IPv4's 11/1 are acted on or ignored, and end nothing.
"""

from __future__ import annotations

import errno

_UNREACHABLE = (
    "ENETUNREACH",  # 0 network
    "EHOSTUNREACH",  # 1 host
    "ENOPROTOOPT",  # 2 protocol
    "ECONNREFUSED",  # 3 port
    None,  # 4 fragmentation needed: EMSGSIZE in the table, the path MTU's business in TCP
    errno.errorcode[errno.EOPNOTSUPP],  # 5 source route failed; Linux has two names for this number
    "ENETUNREACH",  # 6 network unknown
    "EHOSTDOWN",  # 7 host unknown
    "ENONET",  # 8 source host isolated
    "ENETUNREACH",  # 9 network prohibited
    "EHOSTUNREACH",  # 10 host prohibited
    "ENETUNREACH",  # 11 network, for this type of service
    "EHOSTUNREACH",  # 12 host, for this type of service
    "EHOSTUNREACH",  # 13 administratively prohibited
    "EHOSTUNREACH",  # 14 host precedence violation
    "EHOSTUNREACH",  # 15 precedence cutoff
)

_UNREACHABLE_V6 = (
    "ENETUNREACH",  # 0 no route
    "EACCES",  # 1 administratively prohibited
    "EHOSTUNREACH",  # 2 beyond scope of source address
    "EHOSTUNREACH",  # 3 address
    "ECONNREFUSED",  # 4 port
    "EACCES",  # 5 source address failed policy
    "EACCES",  # 6 reject route
)

_INFORMATIONAL_V6 = 128


def errno_name(protocol: str, kind: int, code: int) -> str | None:
    """The errno of connect() after this ICMP error, or None when it does not end one.

    protocol: `icmp` or `icmpv6`; kind, code: the type and the code.
    """
    return _icmpv6(kind, code) if protocol == "icmpv6" else _icmp(kind, code)


def _icmp(kind: int, code: int) -> str | None:
    if kind == 3:
        return _UNREACHABLE[code] if code < len(_UNREACHABLE) else None
    if (kind, code) == (11, 1):
        return None  # reassembly time exceeded: icmp_unreach() counts it and tells no socket; IPv6's 3/1 it tells
    return {11: "EHOSTUNREACH", 12: "EPROTO"}.get(kind)


def _icmpv6(kind: int, code: int) -> str | None:
    if kind == 1:
        return _UNREACHABLE_V6[code] if code < len(_UNREACHABLE_V6) else "EPROTO"
    if kind == 2 or kind >= _INFORMATIONAL_V6:
        return None
    return "EHOSTUNREACH" if kind == 3 else "EPROTO"
