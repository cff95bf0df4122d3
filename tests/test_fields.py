"""The types of the scenario language, each through the validator that scenarios use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from chaos import typed
from chaos.fields import (
    After,
    Argv,
    Backlog,
    Count,
    Duration,
    ErrorName,
    Function,
    NodeName,
    Port,
    Positive,
    Regex,
    Segments,
    State,
    TimeWindow,
)
from chaos.ranges import CountRange, Window


@dataclass(frozen=True)
class Everything:
    """One field of each type; `from_` and `how_many` are spelt `from` and `how-many` in YAML."""

    node: NodeName = "client"
    from_: NodeName | None = None
    others: tuple[NodeName, ...] = ()
    port: Port = 1
    backlog: Backlog = 1
    how_many: Positive = 1
    duration: Duration = 0.0
    segment: Segments = ("any",)
    after: After = "accept"
    window: TimeWindow | None = None
    count: Count | None = None
    error: ErrorName = "ok"
    regex: Regex = ""
    argv: Argv = ("true",)
    function: Function = "a:b"
    state: State = "LISTEN"
    flag: bool = False


def problems(value: dict[str, Any]) -> dict[str, str]:
    """{path: message} of what the validator says about `value`."""
    found: dict[str, str] = {}
    typed.read(Everything, value, lambda path, message, _: found.__setitem__(".".join(map(str, path)), message))
    return found


@pytest.mark.parametrize(
    ("key", "value", "parsed"),
    [
        ("node", "redis-1", "redis-1"),
        ("from", "server", "server"),
        ("others", ["a", "b"], ("a", "b")),
        ("port", 65535, 65535),
        ("backlog", 0, 0),
        ("how-many", 3, 3),
        ("duration", "500ms", 0.5),
        ("duration", "1.5s", 1.5),
        ("duration", "2m", 120.0),
        ("segment", "syn", ("syn",)),
        ("segment", ["ack", "data", "fin"], ("ack", "data", "fin")),
        ("after", "accept", "accept"),
        ("after", 1024, 1024),
        ("window", "200ms..", Window(0.2, None)),
        ("window", "..500ms", Window(None, 0.5)),
        ("window", "2.9s..3.5s", Window(2.9, 3.5)),
        ("window", "1s..1s", Window(1.0, 1.0)),
        ("count", 3, CountRange(3, 3)),
        ("count", -9, CountRange(-9, -9)),
        ("count", "1..", CountRange(1, None)),
        ("count", "1..3", CountRange(1, 3)),
        ("count", "..2", CountRange(0, 2)),
        ("error", "ECONNREFUSED", "ECONNREFUSED"),
        ("error", "EWOULDBLOCK", "EAGAIN"),
        ("error", "EAI_AGAIN", "EAI_AGAIN"),
        ("error", "no-verdict", "no-verdict"),
        ("regex", "refused$", "refused$"),
        ("argv", ["sleep", 5], ("sleep", "5")),
        ("function", "package.module:call", "package.module:call"),
        ("state", "SYN_RECV", "SYN_RECV"),
        ("flag", True, True),
    ],
)
def test_what_is_taken(key: str, value: Any, parsed: Any) -> None:
    read = typed.read(Everything, {key: value}, lambda *problem: pytest.fail(str(problem)))
    assert getattr(read, {"from": "from_", "how-many": "how_many"}.get(key, key)) == parsed


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("node", "-server", "expected a node's name (a-z, 0-9 and -, at most 32 characters), got '-server'"),
        ("node", "server\n", "expected a node's name (a-z, 0-9 and -, at most 32 characters), got 'server\\n'"),
        ("node", "a" * 33, f"expected a node's name (a-z, 0-9 and -, at most 32 characters), got '{'a' * 33}'"),
        ("node", None, "expected a node's name (a-z, 0-9 and -, at most 32 characters), got nothing"),
        ("port", 0, "expected a port from 1 to 65535, got 0"),
        ("port", "80", "expected a port from 1 to 65535, got '80'"),
        ("port", True, "expected a port from 1 to 65535, got true"),
        ("backlog", -1, "should be greater than or equal to 0, got -1"),
        ("how-many", 1.0, "expected an integer, got 1.0"),
        ("duration", "1.5", "expected a duration such as '500ms', '2s' or '1m', got '1.5'"),
        ("duration", 2, "expected a duration such as '500ms', '2s' or '1m', got 2"),
        ("duration", "1e9s", "expected a duration such as '500ms', '2s' or '1m', got '1e9s'"),
        ("after", "acept", "expected 'accept', 'data' or a number of bytes, got 'acept' (did you mean 'accept'?)"),
        ("after", 0, "expected 'accept', 'data' or a number of bytes, got 0"),
        ("window", "500ms", "expected a window such as '200ms..', '..500ms' or '2.9s..3.5s', got '500ms'"),
        ("window", "..", "expected a window such as '200ms..', '..500ms' or '2.9s..3.5s', got '..'"),
        ("window", "2s..1s", "the window '2s..1s' ends before it begins"),
        ("window", "1s..2", "expected a duration such as '500ms', '2s' or '1m', got '2'"),
        ("count", "..", "expected a count such as 3, '1..', '1..3' or '..2', got '..'"),
        ("count", True, "expected a count such as 3, '1..', '1..3' or '..2', got true"),
        ("count", "3..1", "the range '3..1' ends before it begins"),
        ("regex", "(", "not a regular expression: missing ), unterminated subpattern at position 0"),
        ("argv", [], "must not be empty"),
        ("argv", "curl -v", "expected a list, got 'curl -v'"),
        ("function", "module", "expected a function such as 'package.module:function', got 'module'"),
        ("flag", "no", "expected true or false, got 'no' (did you mean 'false'?)"),
        ("flag", 1, "expected true or false, got 1"),
    ],
)
def test_what_is_refused(key: str, value: Any, message: str) -> None:
    assert problems({key: value}) == {key: message}


def test_an_error_that_does_not_exist() -> None:
    (message,) = problems({"error": "ECONREFUSED"}).values()
    assert message.endswith("'ECONREFUSED' does not exist (did you mean 'ECONNREFUSED'?)")


def test_one_segment_of_several() -> None:
    assert problems({"segment": ["syn", "synack"]}) == {
        "segment.1": "expected 'syn', 'syn-ack', 'ack', 'data', 'fin', 'rst' or 'any', got 'synack'"
        " (did you mean 'syn-ack'?)"
    }


def test_every_problem_is_reported_and_the_field_name_is_no_key() -> None:
    found = problems({"from_": "server", "prot": 80, "port": 0, "flag": "on"})
    assert set(found) == {"from_", "prot", "port", "flag"}
    assert found["from_"] == "unknown key `from_` (did you mean 'from'?)"
    assert found["prot"] == "unknown key `prot` (did you mean 'port'?)"


def test_parameters_that_name_nodes_are_known_with_their_defaults() -> None:
    assert typed.node_keys(Everything) == {"node": "client", "from": None, "others": ()}


@pytest.mark.parametrize(
    ("window", "inside", "outside", "text"),
    [
        (Window(0.2, None), 0.2, 0.199, "200ms.."),
        (Window(None, 0.5), 0.5, 0.501, "..500ms"),
        (Window(2.9, 3.5), 3.0, 3.6, "2.9s..3.5s"),
    ],
)
def test_a_window_contains_both_its_ends(window: Window, inside: float, outside: float, text: str) -> None:
    assert inside in window
    assert outside not in window
    assert str(window) == text


def test_a_count_range_contains_both_its_ends() -> None:
    assert [count for count in range(6) if count in CountRange(2, 4)] == [2, 3, 4]
    assert 10**9 in CountRange(1, None)
    assert [str(CountRange(*ends)) for ends in [(3, 3), (1, None), (1, 3)]] == ["3", "1..", "1..3"]
