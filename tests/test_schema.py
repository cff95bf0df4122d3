"""The printed JSON Schema and the validator are one: what a file may hold, both say alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chaos import kinds, yamltext
from chaos.errors import ScenarioError
from chaos.scenario import load
from chaos.schema import schema
from chaos.source import Source
from tests.kinds import CLIENTS, FAULTS
from tests.source import ROOT

SCHEMA = schema(faults=FAULTS, clients=CLIENTS)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
SHIPPED = jsonschema.Draft7Validator(schema())

GOOD = [
    "expect: {error: ok}",
    """
topology: client-server
path: routed
link: {rtt: 200ms}
family: ipv6
listen: {node: server, port: 80, speaks: http, backlog: 5}
target: {node: server}
timing: compressed
matrix: {family: [ipv4, ipv6], path: [routed, direct]}
tags: [slow]
xfail: why
exclusive: true
expect: {error: EAI_AGAIN, elapsed: kernel}
""",
    """
faults:
  - link-down
  - link-down:
  - drop: {at: router, segment: [syn, ack], from: client, port: 80}
  - forget: {at: server, after: 12}
expect:
  error: ok
  phase: send
  step: 2
  elapsed: 2.9s..3.5s
  surfaces: {type: a, message: b, code: 1, cause: c, exit: 1..3, stderr: d}
  wire: {client: ["> syn"], server: []}
  states: {client: [SYN_SENT]}
  queues: {server: {accept: 2, backlog: 1}}
  kernel: {server: {ListenOverflows: 1..}}
  accepted: {after: ack, fd: new, peer: client}
""",
    """
cases:
  a: {client: {use: requests, timeout: 1s}, expect: {error: ok}}
  b: {client: {command: [sleep, 5], probe: client}, expect: {wire: ["> syn"]}}
  c: {client: {python: "a.b:c"}, expect: {elapsed: ..1s}}
  e: {faults: [{link-down: {at: client}}], family: ipv6, link: {rtt: 2ms}, listen: {port: 80}, expect: {error: ok}}
  f: {target: {node: server}, timing: doubling, faults: [], expect: {error: ok}}
  d: {client: {node: client, mode: timeout, timeout: 5ms, steps: [connect, {wait: fault}]}, expect: {phase: connect}}
""",
]

BAD = [
    "expect: {}",
    "family: ipv4",
    "expect: {error: nope}",
    "expect: {error: ok, phase: dial}",
    "expect: {error: ok, elapsed: soon}",
    "expect: {error: ok, zzz: 1}",
    "expect: {surfaces: {zzz: 1}}",
    "expect: {states: {client: [OPEN]}}",
    "expect: {queues: {server: {accept: 1}}}",
    "expect: {kernel: {server: {ListenDrops: 1.5}}}",
    "expect: {wire: 5}",
    "zzz: 1\nexpect: {error: ok}",
    "family: ipv5\nexpect: {error: ok}",
    "exclusive: 'yes'\nexpect: {error: ok}",
    "listen: {port: 0}\nexpect: {error: ok}",
    "listen: {port: '80'}\nexpect: {error: ok}",
    "link: {rtt: 5}\nexpect: {error: ok}",
    "matrix: {client: [a]}\nexpect: {error: ok}",
    "matrix: {family: []}\nexpect: {error: ok}",
    "faults: drop\nexpect: {error: ok}",
    "faults: [drop]\nexpect: {error: ok}",
    "faults: [{drop: {at: server}}]\nexpect: {error: ok}",
    "faults: [{drop: {at: server, segment: [sin]}}]\nexpect: {error: ok}",
    "faults: [{drop: {at: server, segment: syn, from_: client}}]\nexpect: {error: ok}",
    "faults: [{zzz: {at: server}}]\nexpect: {error: ok}",
    "faults: [{link-down: , forget: }]\nexpect: {error: ok}",
    "client: {use: zzz}\nexpect: {error: ok}",
    "client: {use: requests, mode: blocking}\nexpect: {error: ok}",
    "client: {command: []}\nexpect: {error: ok}",
    "client: {python: a}\nexpect: {error: ok}",
    "client: {use: socket, probe: zzz}\nexpect: {error: ok}",
    "cases: {}\nexpect: {error: ok}",
    "cases: {a: {zzz: 1}}\nexpect: {error: ok}",
    "cases: {a b: {}}\nexpect: {error: ok}",
    "cases: {a: {faults: [{drop: {at: server}}]}}\nexpect: {error: ok}",
    "cases: {a: {family: ipv5}}\nexpect: {error: ok}",
    "cases: {a: {link: {rtt: 5}}}\nexpect: {error: ok}",
    "cases: {a: {topology: client-server}}\nexpect: {error: ok}",
]


def by_schema(text: str) -> bool:
    return VALIDATOR.is_valid(yamltext.parse(Source("x", text)).plain())


def by_validator(text: str, folder: Path) -> bool:
    path = folder / "a.chaos.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load(path, faults=FAULTS, clients=CLIENTS)
    except ScenarioError:
        return False
    return True


def test_it_is_a_draft_7_schema() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert "prefixItems" not in json.dumps(SCHEMA)
    assert "$defs" not in json.dumps(SCHEMA)


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for inner in value.values() for found in references(inner)]
        return [found for inner in value for found in references(inner)] if isinstance(value, list) else []

    assert {name.removeprefix("#/definitions/") for name in references(SCHEMA)} <= set(SCHEMA["definitions"])


@pytest.mark.parametrize("text", GOOD)
def test_both_take(text: str, tmp_path: Path) -> None:
    errors = [
        f"{list(error.path)}: {error.message}"
        for error in VALIDATOR.iter_errors(yamltext.parse(Source("x", text)).plain())
    ]
    assert errors == []
    assert by_validator(text, tmp_path)


@pytest.mark.parametrize("text", BAD)
def test_both_refuse(text: str, tmp_path: Path) -> None:
    assert not by_schema(text)
    assert not by_validator(text, tmp_path)


def test_the_schema_of_what_is_shipped_covers_every_kind() -> None:

    definitions = schema()["definitions"]
    for kind in kinds.faults():
        assert f"fault-{kind}" in definitions
    for adapter in kinds.clients():
        assert f"client-{adapter}" in definitions


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").rglob("*.chaos.yaml")), ids=lambda path: path.stem)
def test_it_takes_every_shipped_scenario(path: Path) -> None:
    value = yamltext.parse(Source(str(path), path.read_text(encoding="utf-8"))).plain()
    assert [error.message for error in SHIPPED.iter_errors(value)] == []
