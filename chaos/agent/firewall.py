"""Operation `firewall`: iptables rules of this node, added and deleted one by one, never flushed; their counters."""

from __future__ import annotations

import shlex
import subprocess

from chaos.agent.serve import FAILED, MISSING, Agent, OperationFailed

TIMEOUT = 20.0


def run(agent: Agent, *, tool: str, do: str, rules: list[list[str]], table: str = "filter") -> list[int] | None:
    """`tool` is iptables or ip6tables; a rule is [chain, argument, ...] and carries a comment that is its own.

    `add` and `delete` go through TOOL-restore --noflush; `count` returns the packets that each rule has matched.
    """
    if do == "count":
        return _count(tool, table, rules)
    letter = {"add": "-A", "delete": "-D"}[do]
    lines = [f"*{table}", *(f"{letter} {' '.join(map(_quoted, rule))}" for rule in rules), "COMMIT", ""]
    _run([f"{tool}-restore", "--noflush"], "\n".join(lines))
    return None


def _quoted(argument: str) -> str:
    """TOOL-restore knows double quotes only."""
    return f'"{argument}"' if " " in argument else argument


def _count(tool: str, table: str, rules: list[list[str]]) -> list[int]:
    packets: dict[str, int] = {}
    for line in _run([f"{tool}-save", "-c", "-t", table], "").splitlines():
        words = shlex.split(line)
        if line.startswith("[") and "--comment" in words:
            packets[words[words.index("--comment") + 1]] = int(words[0][1:].partition(":")[0])
    return [packets.get(rule[rule.index("--comment") + 1], 0) for rule in rules]


def _run(argv: list[str], stdin: str) -> str:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        raise OperationFailed(kind=MISSING, tool=argv[0]) from None
    if done.returncode:
        raise OperationFailed(kind=FAILED, argv=argv, status=done.returncode, stderr=f"{done.stderr}\n{stdin}".strip())
    return done.stdout
