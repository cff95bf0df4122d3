"""Operation `lacks`: which of the things that faults and clients require this node does not have.

A requirement is `KIND:NAME`; chaos/requires.py has the kinds. Nothing in the node is changed by asking.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from chaos.agent.serve import Agent

TIMEOUT = 20.0
ABSENT = "absent"
NO_MODULE = "no-module"
READ_ONLY = "read-only"
NO_MODULE_SAYS = "missing kernel module"
"""iptables' own warning (libxtables/xtables.c): the kernel was asked for the extension and does not have it."""
IMPORTABLE = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def run(agent: Agent, *, asked: list[str], tool: str) -> dict[str, str]:
    """{requirement: `absent`, `no-module` or `read-only`} of what is missing; `tool` is iptables or ip6tables."""
    answers = {each: KINDS[each.partition(":")[0]](each.partition(":")[2], tool) for each in asked}
    return {each: why for each, why in answers.items() if why is not None}


def _program(name: str, tool: str) -> str | None:
    return None if shutil.which(tool if name == "iptables" else name) else ABSENT


def _match(name: str, tool: str) -> str | None:
    return _extension([tool, "-m", name, "--help"], name)


def _target(name: str, tool: str) -> str | None:
    return _extension([tool, "-j", name, "--help"], name)


def _extension(argv: list[str], name: str) -> str | None:
    """Help of an extension asks the kernel for it too; of what is no target it is the help without a word of it."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        return ABSENT
    if NO_MODULE_SAYS in done.stderr.decode(errors="replace"):
        return NO_MODULE
    described = re.search(rf"^{re.escape(name)}\b", done.stdout.decode(errors="replace"), re.MULTILINE)
    return None if done.returncode == 0 and described else ABSENT


def _sysctl(name: str, tool: str) -> str | None:
    path = f"/proc/sys/{name}"
    if not os.path.exists(path):
        return ABSENT
    return None if os.access(path, os.W_OK) else READ_ONLY


def _python(name: str, tool: str) -> str | None:
    """Asked of a new interpreter: the agent's own has no site-packages."""
    argv = [sys.executable, "-c", IMPORTABLE, name]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    return ABSENT if done.returncode else None


def _root(name: str, tool: str) -> str | None:
    """Real root: no user namespace stands between; the initial one maps all to itself (user_namespaces(7))."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return None if file.read().split() == ["0", "0", "4294967295"] and os.geteuid() == 0 else ABSENT


KINDS = {
    "program": _program,
    "match": _match,
    "target": _target,
    "sysctl": _sysctl,
    "python": _python,
    "root": _root,
}
