"""Bad input gets all of its errors at once, each with its place and, where there is one, the word that was meant."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from yaml.reader import Reader

from chaos.errors import ScenarioError
from chaos.scenario import load
from chaos.scenario.load import LIMIT
from chaos.source import FORBIDDEN
from tests.kinds import CLIENTS, FAULTS
from tests.load import worked

Write = Callable[[str], Path]
GOOD = """\
# Nobody listens, so the kernel answers the SYN with RST.
faults: [{closed-port: {at: server}}]
expect: {error: ECONNREFUSED, phase: connect, wire: ["> syn", "< rst"]}
"""


# (text of the file, line:column: message); None where the message is tested elsewhere
BAD: list[tuple[str, str | None]] = [
    # an unknown key, at each level
    ("topolgy: x\nexpect: {error: ok}", "1:1: unknown key `topolgy` (did you mean 'topology'?)"),
    ("expect: {eror: ok, error: ok}", "1:10: unknown key `eror` (did you mean 'error'?)"),
    ("expect: {surfaces: {typ: x}}", "1:21: unknown key `typ` (did you mean 'type'?)"),
    ("listen: {prot: 1}\nexpect: {error: ok}", "1:10: unknown key `prot` (did you mean 'port'?)"),
    ("link: {zzz: 1}\nexpect: {error: ok}", "1:8: unknown key `zzz`; known: rtt"),
    ("expect: {error: ok}\ncases: {a: {exect: {}}}", "2:13: unknown key `exect` (did you mean 'expect'?)"),
    ("matrix: {famly: [ipv4]}\nexpect: {error: ok}", "1:10: unknown key `famly` (did you mean 'family'?)"),
    ("client: {use: requests, time: 1s}\nexpect: {error: ok}", "1:25: unknown key `time` (did you mean 'timeout'?)"),
    # a wrong type
    ("expect: 5", "1:9: expected a mapping, got 5"),
    ("exclusive: 1\nexpect: {error: ok}", "1:12: expected true or false, got 1"),
    ("faults: {drop: {}}\nexpect: {error: ok}", "1:9: expected a list such as [{drop: {at: server, segment: syn}}]"),
    ("client: socket\nexpect: {error: ok}", "1:9: expected a mapping such as {use: socket}"),
    ("cases: [a]\nexpect: {error: ok}", "1:8: expected a mapping of names to variants"),
    ("link: {rtt: 5}\nexpect: {error: ok}", "1:13: expected a duration such as '500ms', '2s' or '1m', got 5"),
    ("tags: slow\nexpect: {error: ok}", "1:7: expected a list, got 'slow'"),
    ('expect: {wire: "> syn"}', "1:16: expected a list, got '> syn'"),
    ("- a", "1:1: a scenario is a mapping, such as `expect: {error: ok}`"),
    # YAML 1.1's surprises: none of them is a boolean or a number here
    ("exclusive: no\nexpect: {error: ok}", "1:12: expected true or false, got 'no' (did you mean 'false'?)"),
    ("exclusive: on\nexpect: {error: ok}", "1:12: expected true or false, got 'on' (did you mean 'true'?)"),
    ("listen: {port: 1:30}\nexpect: {error: ok}", "1:16: expected a port from 1 to 65535, got '1:30'"),
    ("listen: {port: 010}\nexpect: {error: ok}", "1:16: expected a port from 1 to 65535, got '010'"),
    ("listen: {port: 0x50}\nexpect: {error: ok}", "1:16: expected a port from 1 to 65535, got '0x50'"),
    ("listen: {port: 8_080}\nexpect: {error: ok}", "1:16: expected a port from 1 to 65535, got '8_080'"),
    # keys given twice
    ("expect: {error: ok}\nfamily: ipv4\nexpect: {error: eof}", "3:1: `expect` is given twice: first on line 1"),
    ("expect: {error: ok, error: eof}", "1:21: `error` is given twice: first on line 1"),
    # syntax
    ("expect:\n\terror: ok", "2:1: a tab: YAML is indented with spaces"),
    ("expect: {error: ok", "2:1: not YAML: while parsing a flow mapping, did not find expected ',' or '}'"),
    ("", "1:1: the file says nothing"),
    ("# a comment\n", "1:1: the file says nothing"),
    ("expect: {error: ok}\n---\nexpect: {error: ok}", "2:1: a second document begins here: one behaviour a file"),
    ("? [a]\n: b\nexpect: {error: ok}", "1:3: a key must be a word"),
    ("x: " + "[" * 100, "1:27: nested more than 24 levels deep"),
    ('xfail: "a\\0b"\nexpect: {error: ok}', "1:8: the character NUL cannot be passed on"),
    ("expect: {error: ok} # \x1b[31m", "1:23: the character U+001B may not stand in a file"),
    # anchors, aliases and tags
    ("tags: &a [slow]\nexpect: {error: ok}", "1:7: anchors are not part of the language: write the value out"),
    ("expect: {error: !!str ok}", "1:17: tags such as !!str are not part of the language"),
    ("expect: !!python/object:os.system {error: ok}",
     "1:9: tags such as !!python/object:os.system are not part of the language"),
    ("expect: !mine {error: ok}", "1:9: tags such as !mine are not part of the language"),
    # what does not exist
    ("topology: client-sever\nexpect: {error: ok}",
     "1:11: unknown topology `client-sever` (did you mean 'client-server'?)"),
    ("topology: ./nope.yaml\nexpect: {error: ok}", "1:11: no Compose file `nope.yaml`"),
    ("topology: ../../etc\nexpect: {error: ok}", None),
    ("faults: [{drip: {at: server}}]\nexpect: {error: ok}", "1:11: unknown fault `drip` (did you mean 'drop'?)"),
    ("faults: [link-dwn]\nexpect: {error: ok}", "1:10: unknown fault `link-dwn` (did you mean 'link-down'?)"),
    ("faults: [{drop: {at: server, segmnt: syn, segment: syn}}]\nexpect: {error: ok}",
     "1:30: unknown key `segmnt` (did you mean 'segment'?)"),
    ("faults: [{drop: {at: server}}]\nexpect: {error: ok}", "1:17: `segment` is missing"),
    ("faults: [closed-port]\nexpect: {error: ok}", "1:10: `at` is missing"),
    ("faults: [{drop: {at: a}, link-down: {}}]\nexpect: {error: ok}",
     "1:10: expected one fault and its parameters, such as {link-down: {at: server}}"),
    ("client: {use: request}\nexpect: {error: ok}", "1:15: unknown client `request` (did you mean 'requests'?)"),
    ("client: {use: requests, command: [a]}\nexpect: {error: ok}", "1:25: `use` and `command` exclude each other"),
    ("client: {probe: sock}\nexpect: {error: ok}", "1:17: expected 'client' or 'socket' (did you mean 'socket'?)"),
    ("expect: {wire: ['> sny']}", "1:17: no segment is named 'sny' (did you mean 'syn'?)"),
    ("expect: {states: {client: [SYN-SENT]}}", None),
    ("expect: {error: ECONREFUSED}", None),
    # nodes that the topology does not have
    ("faults: [{closed-port: {at: servr}}]\nexpect: {error: ok}",
     "1:29: no node `servr` in the topology (did you mean 'server'?)"),
    ("client: {node: router}\nexpect: {error: ok}", "1:16: no node `router` in the topology; it has: client, server"),
    ("listen: {node: redis}\nexpect: {error: ok}", "1:16: no node `redis` in the topology; it has: client, server"),
    ("target: {node: redis}\nexpect: {error: ok}", "1:16: no node `redis` in the topology; it has: client, server"),
    ("expect: {states: {clinet: [LISTEN]}}", "1:19: no node `clinet` in the topology (did you mean 'client'?)"),
    ("expect: {error: ok, accepted: {peer: clint}}",
     "1:38: no node `clint` in the topology (did you mean 'client'?)"),
    ("path: direct\nfaults: [{closed-port: {at: router}}]\nexpect: {error: ok}",
     "2:29: no node `router` in the topology; it has: client, server"),
    # contradictions
    ("expect: {error: ok, elapsed: 2s..1s}", "1:30: the window '2s..1s' ends before it begins"),
    ("expect: {kernel: {server: {ListenDrops: 3..1}}}", "1:41: the range '3..1' ends before it begins"),
    ("client: {node: server}\nexpect: {error: ok}", "1:16: the client dials its own node `server`: no path to break"),
    ("path: direct\nlink: {rtt: 2ms}\nexpect: {error: ok}",
     "2:1: `path: direct` has no wire that could take its time"),
    ("client: {use: requests}\nexpect: {error: ok, step: 2}", "2:21: only the socket client has steps"),
    ("faults: [{forget: {at: client, after: data}}]\nexpect: {error: ok}", "1:24: `client` does not listen here"),
    ("expect: {}", "1:9: this expects nothing: say at least `error`"),
    ("family: ipv4", "1:1: `expect` is missing: what must the client surface?"),
    ("cases: {a: {expect: {error: ok}}, b: }", "1:35: `expect` is missing: what must the client surface?"),
    ("matrix: {family: []}\nexpect: {error: ok}", "1:18: must not be empty"),
    ("matrix: {family: [ipv4, ipv4]}\nexpect: {error: ok}", "1:1: two cases are called `ipv4`"),
    ("cases: {a b: }\nexpect: {error: ok}", "1:9: 'a b': a case's name is letters, digits, '.', '_' and '-'"),
]  # fmt: skip


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `a.chaos.yaml` in a current directory of the test's own."""
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        path = tmp_path / "a.chaos.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def complaints(path: Path) -> list[str]:
    """The first line of each problem of the file."""
    with pytest.raises(ScenarioError) as caught:
        load(path, faults=FAULTS, clients=CLIENTS)
    return [str(problem).partition("\n")[0] for problem in caught.value.problems]


def one(path: Path) -> str:
    """The only problem of the file."""
    (complaint,) = complaints(path)
    return complaint


@pytest.mark.parametrize(("text", "complaint"), BAD)
def test_one_thing_wrong_is_one_problem_at_its_place(write: Write, text: str, complaint: str | None) -> None:
    found = one(write(text))
    assert found.startswith("a.chaos.yaml:")
    if complaint:
        assert found == f"a.chaos.yaml:{complaint}"


def test_all_problems_come_at_once_in_the_order_of_the_file(write: Write) -> None:
    path = write(
        "topologyy: x\n"
        "family: ipv5\n"
        "listen: {port: 0, node: servr}\n"
        "faults:\n"
        "  - drop: {at: servr, segmnt: syn, segment: [syn, synack]}\n"
        "  - dropp: {at: x}\n"
        "client: {use: requests, timeout: 5}\n"
        "expect:\n"
        "  error: ECONREFUSED\n"
        "  elapsed: 2s..1s\n"
        "  elapsed: kernel\n"
        "  states: {client: [SYN-SENT], srver: [LISTEN]}\n"
    )
    places = [complaint.split(": ")[0] for complaint in complaints(path)]
    assert places == [
        f"a.chaos.yaml:{place}"
        for place in ("1:1", "2:9", "3:16", "3:25", "5:16", "5:23", "5:51", "6:5", "7:34", "9:10", "10:12", "11:3",
                      "12:21", "12:32")
    ]  # fmt: skip


def test_a_problem_shows_its_line_with_a_caret(write: Write) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(write("expect: {eror: ok, error: ok}"), faults=FAULTS, clients=CLIENTS)
    assert str(caught.value) == (
        "a.chaos.yaml:1:10: unknown key `eror` (did you mean 'error'?)\n"
        "    expect: {eror: ok, error: ok}\n"
        "             ^"
    )


def test_a_problem_that_all_variants_share_is_reported_once(write: Write) -> None:
    path = write("expect: {error: nope}\ncases: {a: , b: , c: }\nmatrix: {family: [ipv4, ipv6]}\n")
    assert one(path).startswith("a.chaos.yaml:1:17: ")


def test_missing_file(write: Write) -> None:
    assert one(write(GOOD).with_name("b.chaos.yaml")) == "b.chaos.yaml: no such file or directory"


def test_what_is_no_file(write: Write) -> None:
    path = write(GOOD)
    os.mkfifo(path.with_name("pipe"))
    assert one(path.with_name("pipe")) == "pipe: not a file"
    assert one(path.parent) == f"{path.parent}: not a file"


def test_what_may_not_stand_in_a_file_is_what_yaml_calls_unprintable_and_the_mark_of_byte_orders() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert set(FORBIDDEN.findall(every)) == {*Reader.NON_PRINTABLE.findall(every), "\ufeff"}


def test_a_file_of_64_kib_is_read_and_one_byte_more_is_refused_unread(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(GOOD + "#" * (LIMIT - len(GOOD)))
    with monkeypatch.context() as watched:
        reading = Mock(wraps=os.read)
        watched.setattr(os, "read", reading)
        assert load(path, faults=FAULTS, clients=CLIENTS).cases
    assert reading.called
    path = write(GOOD + "#" * (LIMIT - len(GOOD) + 1))
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("the file was read"))
    assert one(path) == "a.chaos.yaml: 65537 bytes: a file has at most 64 KiB"


def test_no_utf8(write: Write) -> None:
    path = write(GOOD)
    path.write_bytes(b"# caf\xe9\nexpect: {error: ok}\n")
    assert one(path) == "a.chaos.yaml:1:6: not UTF-8 text"


def test_an_alias_bomb_is_refused_before_it_unfolds(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    path = write("\n".join([*lines, "expect: {error: ok}"]))
    assert worked(lambda: complaints(path)) < 0.1
    assert "a.chaos.yaml:2:10: the alias *a0 is not allowed: write the value out" in complaints(path)


def test_a_path_above_the_current_directory_is_shown_whole(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("expect: {}")
    inner = path.parent / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert one(path).startswith(f"{path}:1:9: ")


@pytest.mark.parametrize(
    "text",
    ["a: [" * 16_000, "{" * 65_000, "- " * 32_000, "? " * 32_000, "a: 1\n" * 13_000, "!x " * 20_000,
     "x: " + ", ".join(["*a"] * 10_000), "&a " * 20_000, '"' + "\\x41" * 16_000, "k" * 65_000,
     "\n".join(f"key{n}: {n}" for n in range(4_000)), "cases:\n" + "".join(f"  c{n}: 1\n" for n in range(5_000))],
)  # fmt: skip
def test_hostile_text_costs_little(write: Write, text: str) -> None:
    path = write(text[:LIMIT])
    assert worked(lambda: complaints(path)) < 0.5  # a fifth of it undisturbed
    assert complaints(path)


def test_whatever_is_done_to_a_scenario_it_loads_or_is_refused(write: Write) -> None:
    """Parts of a good file replaced by other things: never another exception than ScenarioError."""
    good = GOOD + (
        "client: {use: socket, steps: [connect]}\nmatrix: {family: [ipv4, ipv6], path: [routed]}\n"
        "cases: {a: {expect: {surfaces: {exit: 7}}}}\ntarget: {node: server}\nlisten: {port: 80}\nlink: {rtt: 2ms}\n"
    )
    chance, refused = random.Random(7), 0
    tokens = ["[]", "{}", "5", "null", "x", "[x]", "{x: y}", "true", "1.5", "server", "''", "&a", "*a", ":", "- ", "\n"]
    for _ in range(300):
        text = good
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(text))
            text = text[:start] + chance.choice(tokens) + text[start + chance.randint(0, 12) :]
        try:
            load(write(text), faults=FAULTS, clients=CLIENTS)
        except ScenarioError as error:
            refused += bool(str(error))
    assert refused > 200
