"""`-k EXPRESSION`: which cases, by words that their names have, as pytest's option of this name reads it.

A word is found anywhere in a case's id or in the names of its faults, adapter and tags, whatever the letter case; words
are joined by `and`, `or`, `not` and parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from chaos.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from chaos.scenario import Case

Test = Callable[[list[str]], bool]
_TOKEN: Final = re.compile(r"\s*([()]|[^\s()]+)")
_OPERATORS: Final = ("and", "or", "not", "(", ")")


def selected(cases: Iterable[Case], expression: str | None) -> list[Case]:
    """The cases that the expression fits; all without one. Raises ScenarioError when it is none."""
    if expression is None:
        return list(cases)
    fits = parse(expression)
    return [case for case in cases if fits([name.lower() for name in names(case)])]


def names(case: Case) -> list[str]:
    """What a word is looked for in."""
    return [case.node_id, *(kind for kind, _ in case.faults), case.adapter, *case.tags]


def parse(expression: str) -> Test:
    """A test of a list of names in lower case. Raises ScenarioError."""
    tokens = _TOKEN.findall(expression)
    test = _either(tokens, expression)
    if tokens:
        raise _wrong(expression, f"`{tokens[0]}` stands where `and` or `or` is expected")
    return test


def _either(tokens: list[str], whole: str) -> Test:
    tests = [_all(tokens, whole)]
    while tokens[:1] == ["or"]:
        tokens.pop(0)
        tests.append(_all(tokens, whole))
    return tests[0] if len(tests) == 1 else lambda names: any(test(names) for test in tests)


def _all(tokens: list[str], whole: str) -> Test:
    tests = [_one(tokens, whole)]
    while tokens[:1] == ["and"]:
        tokens.pop(0)
        tests.append(_one(tokens, whole))
    return tests[0] if len(tests) == 1 else lambda names: all(test(names) for test in tests)


def _one(tokens: list[str], whole: str) -> Test:
    token = tokens.pop(0) if tokens else ""
    if token == "not":
        refused = _one(tokens, whole)
        return lambda names: not refused(names)
    if token == "(":
        inner = _either(tokens, whole)
        if not tokens or tokens.pop(0) != ")":
            raise _wrong(whole, "a parenthesis is not closed")
        return inner
    if not token or token in _OPERATORS:
        raise _wrong(whole, f"a word is expected{f' where `{token}` stands' if token else ' at the end'}")
    word = token.lower()
    return lambda names: any(word in name for name in names)


def _wrong(expression: str, message: str) -> ScenarioError:
    return ScenarioError([Problem(f"-k {expression!r}", 0, 0, message)])
