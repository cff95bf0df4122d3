"""plan.txt: every shipped case has one that a shell can read, and what it sets up is what the lab has.

A plan is run for real in user, mount and network namespaces of its own: its `ip netns` and its files in /etc are
seen by nobody else.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chaos import packages
from chaos.backends.netns import Netns, specify
from chaos.cli import main
from chaos.model import Lab
from chaos.plan import plan
from chaos.scenario import Case, load
from tests.source import ROOT

FILES = sorted((ROOT / "scenarios").rglob("*.chaos.yaml"))
MORTAL = ["setpriv", "--pdeathsig", "KILL"]
"""A script that waits for something would go on without us."""
ALONE = [*MORTAL, "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
PRIVATE = """\
mount -t tmpfs run /run
cp -a /etc /run/etc 2>/dev/null
mount --bind /run/etc /etc
mount -t proc proc /proc
"""
ASKS = {
    "iptables": ["iptables-save"],
    "ip6tables": ["ip6tables-save"],
    "routes": ["ip", "-4", "-json", "route", "show", "table", "all"],
    "routes6": ["ip", "-6", "-json", "route", "show", "table", "all"],
    "rules": ["ip", "-4", "-json", "rule"],
    "rules6": ["ip", "-6", "-json", "rule"],
    "addresses": ["ip", "-json", "address"],
    "hosts": ["cat", "/etc/hosts"],
}
SLOW = "types some 80 commands, and waits as long as the client does"


def cases() -> Iterator[Case]:
    for file in FILES:
        yield from load(file).cases


def case_of(name: str) -> Case:
    return load(ROOT / "scenarios" / f"{name}.chaos.yaml").cases[0]


@pytest.mark.slow("makes a plan of every shipped case")
@pytest.mark.parametrize("docker", [False, True])
def test_every_case_has_a_plan_that_a_shell_can_read(docker: bool, tmp_path: Path) -> None:
    """From a file: bash reads a pipe byte by byte."""
    (tmp_path / "plans").write_text("\n".join(plan(case, docker=docker) for case in cases()))
    done = subprocess.run(["bash", "-n", tmp_path / "plans"], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plan_is_the_same_every_time() -> None:
    texts = {re.sub(r"chaos-\d+", "chaos-N", plan(case_of("refused/firewall-reset"))) for _ in range(2)}
    assert len(texts) == 1


def test_rules_are_written_as_they_are_added() -> None:
    rule = "-A FORWARD -i wire0 -p tcp --dport 8080 --tcp-flags SYN,ACK,RST,FIN SYN -j REJECT --reject-with tcp-reset"
    text = plan(case_of("refused/firewall-reset"))
    assert f"ip netns exec chaos-router iptables {rule} -m comment" in text
    assert f"ip netns exec chaos-router iptables {rule.replace('-A', '-D')} -m comment" in text


def test_the_wire_is_described_as_what_it_is() -> None:
    text = plan(case_of("handshake/three-way"))
    assert "a program\n# that waits 100 ms each way; no one-line command does that" in text


def sections(text: str) -> tuple[str, str, str]:
    """A plan as set-up with its faults, client, undo of the faults; the rest of the undo is the namespaces' end."""
    setup, _, rest = text.partition("# -- The client\n")
    client, undo, _ = [*re.split(r"# -- Undo .*\n", rest), ""][:3]
    return setup, client, undo if "# -- Undo the faults" in rest else ""


# -- of containers

REDIS = ROOT / "examples" / "redis"


def test_where_a_service_is_an_image_its_container_is_the_node_and_runs_its_own_programs() -> None:
    (case,) = load(REDIS / "gone.chaos.yaml").cases
    text = plan(case, docker=True)
    assert f"docker compose -p chaos-by-hand -f {REDIS}/docker-compose.yaml -f - up -d" in text
    assert "ip netns attach chaos-db $(docker inspect -f '{{.State.Pid}}' chaos-by-hand-db-1)" in text
    assert "ip netns add chaos-router\n" in text
    assert "chaos-db iptables -t nat -A PREROUTING -p tcp --dport 6379 -j REDIRECT" in text
    assert "docker exec chaos-by-hand-app-1 python3 -c 'import redis;" in text
    assert "listener" not in text.replace("# -- The listener", "")
    assert "ip netns add chaos-db" in plan(case)


def test_a_plan_is_of_the_backend_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "scenarios/refused/closed-port.chaos.yaml::socket-ipv4")
    redis = str(REDIS / "gone.chaos.yaml")
    for argv, wanted in (([file], False), ([file, "--backend", "docker"], True), ([redis], True)):
        assert main(["plan", *argv]) == 0
        assert ("ip netns attach" in capsys.readouterr().out) == wanted
    assert main(["plan", file, "--backend", "dockr"]) == 2
    assert "did you mean 'docker'" in capsys.readouterr().err


# -- typed


Told = Mapping[str, Mapping[str, str]]
"""What the nodes answered: by node, by question."""


def typed(case: Case, tmp_path: Path) -> tuple[Told, str, Told]:
    """Run the plan in namespaces of its own: what the nodes say under the faults, the client, what they say after."""
    setup, client, undo = sections(plan(case))
    script = [PRIVATE, setup, *questions(case, tmp_path / "armed"), "{", client, "} 2>&1", undo]
    text = "\n".join([*script, *questions(case, tmp_path / "undone"), "exit 0"])
    done = subprocess.run([*ALONE, "bash", "-s"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return told(case, tmp_path / "armed"), done.stdout, told(case, tmp_path / "undone")


def questions(case: Case, folder: Path) -> Iterator[str]:
    """One shell a node: `ip netns exec` mounts a /sys for each program."""
    folder.mkdir()
    for node in nodes(case):
        asks = "; ".join(f"{' '.join(argv)} > {folder}/{node}.{name}" for name, argv in ASKS.items())
        yield f"ip netns exec chaos-{node} sh -c '{asks}'"


def nodes(case: Case) -> list[str]:
    spec = specify(case.setting, list(case.setting.topology.services))
    return [node["name"] for node in spec["nodes"]]


def told(case: Case, folder: Path) -> Told:
    """What the files of `questions` hold."""
    return {node: {ask: NORMAL[ask]((folder / f"{node}.{ask}").read_text()) for ask in ASKS} for node in nodes(case)}


def asked(lab: Lab) -> Told:
    """The same of a lab."""
    nodes = lab.nodes.items()
    return {name: {ask: NORMAL[ask](it.call("command", argv=argv)) for ask, argv in ASKS.items()} for name, it in nodes}


def _rules(text: str) -> str:
    return "\n".join(re.sub(r"chaos-\d+", "chaos-N", line) for line in text.splitlines() if line.startswith("-A"))


def _static(text: str) -> str:
    found = [route for route in json.loads(text or "[]") if route.get("protocol") == "static" or "type" in route]
    kept = ("type", "dst", "gateway", "dev", "metric", "table")
    mine = [{name: route[name] for name in kept if name in route} for route in found if _ours(route)]
    return json.dumps(sorted(mine, key=json.dumps), indent=1)


def _ours(route: Mapping[str, Any]) -> bool:
    return route.get("type") not in ("local", "broadcast", "anycast", "multicast")


def _addresses(text: str) -> str:
    found = [(link["ifname"], it["local"], it["prefixlen"]) for link in json.loads(text) for it in link["addr_info"]]
    return "\n".join(map(str, sorted(found)))


NORMAL: Mapping[str, Callable[[str], str]] = {
    "iptables": _rules,
    "ip6tables": _rules,
    "routes": _static,
    "routes6": _static,
    "rules": str.strip,
    "rules6": str.strip,
    "addresses": _addresses,
    "hosts": str.strip,
}
"""What of an answer counts: not the order, the numbers of interfaces, or the kernel's own entries."""


@pytest.mark.slow(SLOW)
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("handshake/both-directions", "hello"),
        ("refused/firewall-reset", "Connection refused"),
        ("refused/closed-port", "Connection refused"),
        ("reset/aborted-connection", "Connection reset"),
        ("unreachable/no-route", "Network is unreachable"),
        ("unreachable/router-route", "No route to host"),
        ("unreachable/link-down", "Network is unreachable"),
        ("connect/port-in-use", "Address already in use"),
        ("connect/link-local-without-scope", "EINVAL"),
        ("udp/port-unreachable", "Connection refused"),
        ("raw/without-privilege", "Operation not permitted"),
        ("unix/no-listener", "Connection refused"),
        ("domains/every-socket", "hello"),
        ("names/no-such-name", "Name or service not known"),
    ],
)
def test_typed_in_it_is_the_lab(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages.folder("dnslib")))
    case = case_of(name)
    with Netns() as session, session.start(case.setting) as lab:
        fresh = asked(lab)
        with ExitStack() as undo:
            for _, fault in case.faults:
                undo.enter_context(fault.inject(lab))
            armed = asked(lab)
    under, client, after = typed(case, tmp_path)
    assert under == armed
    assert says in client
    assert after == fresh
