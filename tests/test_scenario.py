"""What a scenario file means: defaults, variants, the matrix, and the setting of each case."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos import kinds, yamltext
from chaos.errors import ScenarioError
from chaos.model import Endpoint, Listen
from chaos.ranges import CountRange, Window
from chaos.scenario import Accepted, Case, Expect, QueueLimit, Scenario, Surfaces, load
from chaos.source import Source
from tests.kinds import CLIENTS, FAULTS, ClosedPort, Command, Drop, LinkDown, Requests, Socket
from tests.source import ROOT

Loads = Callable[[str], Scenario]
SHIPPED = sorted((ROOT / "scenarios").rglob("*.chaos.yaml"))


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loads:
    """Loads a text as `a.chaos.yaml` of the current directory."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str) -> Scenario:
        path = Path("a.chaos.yaml")
        path.write_text(text, encoding="utf-8")
        return load(path, faults=FAULTS, clients=CLIENTS)

    return loaded


@pytest.fixture
def case(loads: Loads) -> Callable[[str], Case]:
    """Loads a text that has one case."""

    def only(text: str) -> Case:
        (found,) = loads(text).cases
        return found

    return only


def test_defaults(case: Callable[[str], Case]) -> None:
    found = case("# Healthy,\n# and why.\nexpect: {error: ok}\n")
    assert found.name == "default"
    assert found.node_id == "a.chaos.yaml::default"
    assert found.line == 3
    assert (found.client, found.adapter, found.probe) == (Socket(), "socket", "client")
    assert (found.faults, found.tags, found.xfail, found.exclusive) == ((), (), None, False)
    assert found.expect == Expect(error="ok")
    setting = found.setting
    assert setting.topology.name == "client-server"
    assert (setting.path, setting.rtt, setting.family, setting.timing) == ("routed", 0.002, "ipv4", "short")
    assert (setting.listen, setting.target, setting.client) == (Listen(), Endpoint("server", 8080), "client")


def test_why_is_the_first_comment(loads: Loads) -> None:
    assert loads("# It proves\n# this.\n\n# Not that.\nexpect: {error: ok}").why == "It proves this."
    assert loads("expect: {error: ok}").why == ""


def test_everything_that_can_be_expected(case: Callable[[str], Case]) -> None:
    found = case(
        """
expect:
  error: ECONNRESET
  phase: send
  step: 5
  elapsed: 200ms..400ms
  surfaces: {type: a.B, message: "^x", code: 2003, cause: C, exit: 7, stderr: y$}
  accepted: {after: ack, fd: new, peer: client}
  wire: {client: ["> syn x2", "..."], router: []}
  states: {client: [SYN_SENT, ESTABLISHED], server: [SYN_RECV]}
  queues: {server: {accept: 2, backlog: 1}}
  kernel: {server: {ListenOverflows: 1.., ListenDrops: 3}}
"""
    )
    assert found.expect == Expect(
        error="ECONNRESET",
        phase="send",
        step=5,
        elapsed=Window(0.2, 0.4),
        surfaces=Surfaces("a.B", "^x", "2003", "C", CountRange(7, 7), "y$"),
        accepted=Accepted("ack", "new", "client"),
        wire={"client": ("> syn x2", "..."), "router": ()},
        states={"client": ("SYN_SENT", "ESTABLISHED"), "server": ("SYN_RECV",)},
        queues={"server": QueueLimit(2, 1)},
        kernel={"server": {"ListenOverflows": CountRange(1, None), "ListenDrops": CountRange(3, 3)}},
    )
    assert found.lines["expect.kernel.server.ListenDrops"] == 12
    assert found.lines["expect.wire.client.1"] == 9
    assert found.lines["expect.error"] == 3


@pytest.mark.parametrize(
    ("text", "seconds", "patient"),
    [
        ("expect: {error: ok}", 0.0, False),
        ("expect: {error: ok, elapsed: ..500ms}", 0.0, False),
        ("expect: {error: ok, elapsed: 200ms..}", 0.2, False),
        ("expect: {error: ok, elapsed: 1s..2s}", 1.0, True),
        ("expect: {error: ETIMEDOUT, elapsed: kernel}", 3.0, True),
        ("timing: real\nexpect: {error: ETIMEDOUT, elapsed: kernel}", 131.0, True),
    ],
)
def test_how_long_the_attempt_will_wait(case: Callable[[str], Case], text: str, seconds: float, patient: bool) -> None:
    setting = case(f"faults: [{{drop: {{at: server, segment: syn}}}}]\n{text}").setting
    assert (setting.waits, setting.patient) == (seconds, patient)


def test_a_plain_list_of_wire_is_at_the_client_wherever_that_is(case: Callable[[str], Case]) -> None:
    found = case("client: {node: server}\ntarget: {node: client}\nexpect:\n  wire:\n    - '> syn'\n    - '< rst'\n")
    assert found.expect.wire == {"server": ("> syn", "< rst")}
    assert found.lines["expect.wire.server.1"] == 6


def test_nothing_on_the_wire_is_an_expectation(case: Callable[[str], Case]) -> None:
    assert case("expect: {wire: []}").expect.wire == {"client": ()}


def test_faults_keep_their_order(case: Callable[[str], Case]) -> None:
    found = case(
        "expect: {error: ok}\nfaults:\n  - link-down\n  - drop: {at: router, segment: syn, from: client}\n"
        "  - closed-port: {at: server}\n  - link-down:\n"
    )
    assert found.faults == (
        ("link-down", LinkDown()),
        ("drop", Drop("router", ("syn",), from_="client")),
        ("closed-port", ClosedPort("server")),
        ("link-down", LinkDown()),
    )
    assert [found.lines[f"faults.{index}"] for index in range(4)] == [3, 4, 5, 6]


def test_clients_and_what_probes_for_them(loads: Loads) -> None:
    found = {
        case.name: case
        for case in loads(
            """
expect: {error: ok}
cases:
  plain:
  library: {client: {use: requests, timeout: 1s}}
  careful: {client: {use: requests, probe: socket}}
  program: {client: {command: [curl, -m, 5, "{url}"]}}
  function: {client: {python: "shop.redis:ping"}}
"""
        ).cases
    }
    assert {name: case.adapter for name, case in found.items()} == {
        "plain": "socket", "library": "requests", "careful": "requests", "program": "command", "function": "python",
    }  # fmt: skip
    assert [name for name, case in found.items() if case.probe == "socket"] == ["careful", "program"]
    assert found["library"].client == Requests(timeout=1.0)
    assert found["program"].client == Command(("curl", "-m", "5", "{url}"))
    assert [name for name, case in found.items() if case.setting.listen.speaks == "http"] == ["library", "careful"]


def test_a_case_is_laid_over_the_file_key_by_key(loads: Loads) -> None:
    first, second = loads(
        """
client: {use: requests}
expect: {error: ECONNREFUSED, phase: connect, surfaces: {type: A, cause: B}}
cases:
  same: {}
  other:
    client: {use: socket}
    expect: {phase: send, surfaces: {type: C}}
"""
    ).cases
    assert first.expect == Expect("ECONNREFUSED", "connect", surfaces=Surfaces(type="A", cause="B"))
    assert second.expect == Expect("ECONNREFUSED", "send", surfaces=Surfaces(type="C", cause="B"))
    assert (first.adapter, second.adapter) == ("requests", "socket")
    assert [second.lines[key] for key in ("client", "expect.error", "expect.phase", "expect.surfaces.cause")] == [
        7, 3, 8, 3,
    ]  # fmt: skip
    assert (first.line, second.line) == (5, 6)


def test_a_case_s_faults_and_network_stand_in_place_of_the_file_s(loads: Loads) -> None:
    first, second = loads(
        """
faults: [{closed-port: {at: server}}]
link: {rtt: 20ms}
listen: {port: 80}
expect: {error: ok}
cases:
  same: {}
  other:
    faults: [{drop: {at: server, segment: syn}}, {link-down: {at: client}}]
    family: ipv6
    link: {rtt: 30ms}
    listen: {port: 81, backlog: 5}
    timing: real
    target: {node: server, port: 82}
"""
    ).cases
    assert (first.faults, second.faults) == (
        (("closed-port", ClosedPort("server")),),
        (("drop", Drop("server", ("syn",))), ("link-down", LinkDown("client"))),
    )
    there, here = first.setting, second.setting
    assert (there.family, there.rtt, there.timing, there.listen.port, there.target.port) == (
        "ipv4",
        0.02,
        "short",
        80,
        80,
    )
    assert (here.family, here.rtt, here.timing, here.listen, here.target.port) == (
        "ipv6", 0.03, "real", Listen(port=81, backlog=5), 82,
    )  # fmt: skip
    assert [second.lines[key] for key in ("faults.0", "faults.1", "family", "expect.error")] == [9, 9, 10, 5]
    assert first.lines["faults.0"] == 2


def test_a_case_of_no_faults_is_a_healthy_network(loads: Loads) -> None:
    text = "faults: [{closed-port: {at: server}}]\nexpect: {error: ok}\ncases: {broken: , healthy: {faults: []}}\n"
    assert [len(case.faults) for case in loads(text).cases] == [1, 0]


def test_every_case_may_bring_its_own_expectation(loads: Loads) -> None:
    assert [
        case.expect.error for case in loads("cases: {a: {expect: {error: ok}}, b: {expect: {error: eof}}}").cases
    ] == ["ok", "eof"]


def test_the_matrix_multiplies_in_the_order_of_the_file(loads: Loads) -> None:
    cases = "expect: {error: ok}\ncases: {a: , b: }\n"
    matrix = "matrix: {path: [routed, direct], family: [ipv4, ipv6]}\n"
    found = loads(cases + matrix).cases
    assert [case.name for case in found] == [
        f"{name}-{path}-{family}" for name in "ab" for path in ("routed", "direct") for family in ("ipv4", "ipv6")
    ]
    assert {(case.setting.path, case.setting.family) for case in found} == {
        ("routed", "ipv4"), ("routed", "ipv6"), ("direct", "ipv4"), ("direct", "ipv6"),
    }  # fmt: skip


def test_with_a_matrix_alone_its_values_are_the_names(loads: Loads) -> None:
    found = loads("expect: {error: ok}\nmatrix: {timing: [short, compressed, real]}\n").cases
    assert [(case.name, case.setting.timing) for case in found] == [
        ("short", "short"), ("compressed", "compressed"), ("real", "real"),
    ]  # fmt: skip


def test_markers(case: Callable[[str], Case]) -> None:
    found = case('expect: {error: ok}\ntags: [slow, no]\nxfail: "their issue 7"\nexclusive: true\n')
    assert (found.tags, found.xfail, found.exclusive) == (("slow", "no"), "their issue 7", True)


@pytest.mark.parametrize(
    ("keys", "listen", "target"),
    [
        ("", ("db", 5432), ("proxy", 15432)),
        ("target: {node: db}", ("db", 5432), ("db", 5432)),
        ("target: {node: proxy}", ("db", 5432), ("proxy", 15432)),
        ("target: {node: web, port: 80}", ("db", 5432), ("web", 80)),
        ("listen: {port: 99}", ("db", 99), ("db", 99)),
        ("listen: {node: web, port: 80}", ("web", 80), ("web", 80)),
    ],
)
def test_who_listens_and_what_is_dialled(
    case: Callable[[str], Case], keys: str, listen: tuple[str, int], target: tuple[str, int]
) -> None:
    """Without a `server`, the one service that says where it listens; what is dialled is the proxy in front of it."""
    Path("compose.yaml").write_text(
        "services:\n  client:\n  web:\n  db: {x-chaos: {listen: 5432}}\n"
        "  proxy: {x-chaos: {toxiproxy: {listen: 15432, upstream: 'db:5432'}}}\n",
        encoding="utf-8",
    )
    setting = case(f"topology: ./compose.yaml\nexpect: {{error: ok}}\n{keys}\n").setting
    assert (setting.listen.node, setting.listen.port) == listen
    assert setting.target == Endpoint(*target)


def test_nobody_listens(loads: Loads) -> None:
    Path("compose.yaml").write_text("services: {client: , web: }", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"1:11: who listens\?.*; there are: client, web"):
        loads("topology: ./compose.yaml\nexpect: {error: ok}\n")


def test_the_problems_of_a_topology_come_with_those_of_the_scenario(loads: Loads) -> None:
    Path("compose.yaml").write_text("services: {router: , client: {x-chaos: {x: 1}}}", encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        loads("topology: ./compose.yaml\nexpect: {error: nope}\n")
    assert [(problem.file, problem.line, problem.column) for problem in caught.value.problems] == [
        ("a.chaos.yaml", 2, 17), ("compose.yaml", 1, 12), ("compose.yaml", 1, 41),
    ]  # fmt: skip


def test_plain_scalars_are_what_they_look_like() -> None:
    words = "no, on, 1:30, 010, 0x1f, 1_000, 2001-01-01, .5, .inf, '1', null, ~, true, False, -3, 1.5"
    assert yamltext.parse(Source("x", f"[{words}]")).plain() == [
        "no", "on", "1:30", "010", "0x1f", "1_000", "2001-01-01", ".5", ".inf", "1", None, None, True, "False", -3, 1.5,
    ]  # fmt: skip
    assert yamltext.parse(Source("x", "1" * 20)).plain() == "1" * 20


def test_kinds_are_found_by_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "found_by_name"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "_shared": "raise RuntimeError('no kind')",
        "closed_port": (
            '"""A fault."""\nfrom dataclasses import dataclass\nfrom pathlib import Path\n\n@dataclass\nclass Armed:\n'
            '    hits: int = 0\n\n@dataclass(frozen=True)\nclass Closed:\n    """The help.\n\n    More."""\n\n'
            "    def inject(self, lab): ...\n"
        ),
        "broken": "",
    }.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = kinds.faults("found_by_name")
    assert list(found) == ["broken", "closed-port"]
    assert "found_by_name.closed_port" not in sys.modules
    assert found["closed-port"].__name__ == "Closed"
    assert kinds.help_of(found["closed-port"]) == "The help."
    with pytest.raises(TypeError, match=r"found_by_name\.broken: expected one dataclass with `inject`, found 0"):
        found["broken"]


def test_a_parameter_that_names_nodes_is_checked_when_it_is_left_out_too() -> None:
    assert list(kinds.stray_nodes(LinkDown, {}, ("a", "b"))) == [
        ("at", "no node `server` in the topology; it has: a, b")
    ]
    assert list(kinds.stray_nodes(LinkDown, {"at": "a"}, ("a", "b"))) == []


@dataclass(frozen=True)
class _Kind:
    """What the command line makes of plain values."""

    values: dict[str, Any]
    complaint: str


@pytest.mark.parametrize(
    "kind",
    [
        _Kind({"zzz": 1}, "--fault: drop.zzz: unknown key `zzz`"),
        _Kind({"at": "server", "segment": "sin"}, "(did you mean 'syn'?)"),
    ],
)
def test_a_fault_from_the_command_line(monkeypatch: pytest.MonkeyPatch, kind: _Kind) -> None:
    monkeypatch.setattr(kinds, "faults", lambda: FAULTS)
    assert kinds.fault("drop", {"at": "server", "segment": "syn"}) == Drop("server", ("syn",))
    with pytest.raises(ScenarioError) as caught:
        kinds.fault("drop", kind.values, "--fault")
    assert kind.complaint in str(caught.value)
    with pytest.raises(ScenarioError, match="unknown fault `drip`"):
        kinds.fault("drip", {})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_scenarios_are_short_and_say_why(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    scenario = load(path)
    assert scenario.why
    assert scenario.cases
