"""Operation `firewall`: iptables rules of this node, added and deleted one by one, never flushed; their counters."""

from __future__ import annotations

import contextlib

from chaos.agent import spawned
from chaos.agent.nftables import Tables, Template
from chaos.agent.serve import FAILED, Agent, OperationFailed


def run(
    agent: Agent,
    *,
    tool: str,
    do: str,
    rules: list[list[str]],
    table: str = "filter",
    like: list[Template] | None = None,
) -> list[int] | list[Template] | None:
    """`tool` is iptables or ip6tables; a rule is [chain, argument, ...] and carries a comment that is its own.

    `add` goes through TOOL-restore --noflush, and returns what the next ones can be made `like`, without it; nothing
    where iptables keeps its rules elsewhere. `count` returns the packets that each rule has matched; it and `delete`
    ask the kernel (nftables.py), or TOOL-save and TOOL-restore in that case.
    """
    if "nf_tables" not in agent.state:
        agent.state["nf_tables"] = Tables()
    tables: Tables = agent.state["nf_tables"]
    comments = [_comment(rule) for rule in rules]
    if do == "add":
        return _added(tables, tool, table, rules, dict(zip(comments, like, strict=True)) if like else {})
    there = {rule.comment: rule for rule in tables.found(tool, table, comments)}
    if do == "count":
        packets = {comment: rule.packets for comment, rule in there.items()} or _saved(tool, table)
        return [packets.get(comment, 0) for comment in comments]
    if there:
        tables.delete(tool, table, there.values())
    rest = [rule for rule in rules if _comment(rule) not in there]
    if rest:
        _restore(tool, table, "-D", rest)
    return None


def _added(tables: Tables, tool: str, table: str, rules: list[list[str]], like: dict[str, Template]) -> list[Template]:
    if like:
        with contextlib.suppress(OSError):  # nothing is done then: it is one transaction
            tables.add(tool, table, like)
            return []
    _restore(tool, table, "-A", rules)
    return tables.templates(tool, table, rules, [_comment(rule) for rule in rules])


def _comment(rule: list[str]) -> str:
    return rule[rule.index("--comment") + 1]


def _restore(tool: str, table: str, letter: str, rules: list[list[str]]) -> None:
    lines = [f"*{table}", *(f"{letter} {' '.join(map(_quoted, rule))}" for rule in rules), "COMMIT", ""]
    text = "\n".join(lines)
    try:
        spawned.output([f"{tool}-restore", "--noflush"], text)
    except OperationFailed as failed:
        if failed.error["kind"] == FAILED:
            failed.error["stderr"] = f"{failed.error['stderr']}\n{text}".strip()
        raise


def _quoted(argument: str) -> str:
    """TOOL-restore knows double quotes only."""
    return f'"{argument}"' if " " in argument else argument


def _saved(tool: str, table: str) -> dict[str, int]:
    """The counters by comment, as `[packets:bytes] -A CHAIN ... --comment NAME ...` has them."""
    found: dict[str, int] = {}
    for line in spawned.output([f"{tool}-save", "-c", "-t", table]).splitlines():
        words = line.split()
        if line.startswith("[") and "--comment" in words:
            found[words[words.index("--comment") + 1].strip('"')] = int(words[0][1:].partition(":")[0])
    return found
