"""The error that a program's own words name, for clients that have nothing but words.

The C library's texts (strerror(3), gai_strerror(3)), those of musl and Go where they differ, and errno names as they
are (Node says `connect ECONNREFUSED`). A program that gave up by its own clock says so in words of its own, some of
them close to ETIMEDOUT's: curl's `Connection timed out after 500 milliseconds` is a timer of curl's, bash's
`connect: Connection timed out` is the kernel's.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from functools import cache

OWN_CLOCK = re.compile(
    r"""timed\ out\ after\ \d | connection\ timeout\ after\ \d | timeout\ was\ reached   # curl
    | timed\ out:\ operation\ now\ in\ progress                                          # nc -w
    | i/o\ timeout | deadline\ exceeded | client\.timeout                                # Go
    | \b(connect|read)\ timed\ out                                                       # Java, requests
    | (error|timeout):\ timed\ out$                                                      # Python
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
END_OF_STREAM = re.compile(r"(?i:empty reply from server|transfer closed with|no data received|socket hang up)|\bEOF\b")

RESOLVER = {
    "name or service not known": "EAI_NONAME",
    "name does not resolve": "EAI_NONAME",
    "temporary failure in name resolution": "EAI_AGAIN",
    "non-recoverable failure in name resolution": "EAI_FAIL",
    "no address associated with hostname": "EAI_NODATA",
    "address family for hostname not supported": "EAI_ADDRFAMILY",
    "servname not supported for ai_socktype": "EAI_SERVICE",
    "ENOTFOUND": "EAI_NONAME",
} | {name: name for name in vars(socket) if name.startswith("EAI_")}

ELSEWHERE = {
    "host is unreachable": "EHOSTUNREACH",
    "network unreachable": "ENETUNREACH",
    "address not available": "EADDRNOTAVAIL",
    "operation timed out": "ETIMEDOUT",
}
"""Texts of musl that are not glibc's."""

OF_SOCKETS = {
    "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN",
    "ENETRESET", "ENONET", "EADDRNOTAVAIL", "EADDRINUSE", "EAFNOSUPPORT", "ENOPROTOOPT", "EPROTO", "EPIPE", "ENOTCONN",
    "EISCONN", "EMSGSIZE", "ENOBUFS",
}  # fmt: skip
PASSING = {"EINPROGRESS", "EAGAIN", "EALREADY", "EINTR"}


def error_named(text: str) -> str | None:
    """The errno name, EAI_ name, `timeout` or `eof` that a program's output names; None when it names none.

    Of several, a resolver's error wins (bash goes on to say `Invalid argument`), then the last errno that is a
    socket's, then the end of a stream, then the last of any other (a file that is not there, a connect in progress).
    """
    if OWN_CLOCK.search(text):
        return "timeout"
    resolver = _found(text, RESOLVER)
    if resolver:
        return resolver[0]
    named = _found(text, _errnos())
    of_sockets = [name for name in named if name in OF_SOCKETS]
    if of_sockets:
        return of_sockets[-1]
    if END_OF_STREAM.search(text):
        return "eof"
    named.sort(key=lambda name: name not in PASSING)
    return named[-1] if named else None


def _found(text: str, names: dict[str, str]) -> list[str]:
    """What the text names, in order; words in any case, names such as ECONNREFUSED as they are written."""
    matches = _pattern(tuple(names)).findall(text)
    return [names[match] if match in names else names[match.lower()] for match in matches]


@cache
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    texts = tuple(sorted(texts, key=len, reverse=True))  # one text may begin with another
    words = "|".join(re.escape(text) for text in texts if not text.isupper())
    names = "|".join(text for text in texts if text.isupper())
    return re.compile(rf"(?<!\w)(?:(?i:{words})|{names})(?!\w)")


@cache
def _errnos() -> dict[str, str]:
    """Every errno by its name, by its text in lower case, and as Python and Rust number it."""
    names: dict[str, str] = dict(ELSEWHERE)
    for number, name in errno.errorcode.items():
        spellings = (name, os.strerror(number).lower(), f"[errno {number}]", f"(os error {number})")
        names |= dict.fromkeys(spellings, name)
    return names
