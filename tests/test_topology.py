"""Compose files as topologies: the shipped ones, a project's own, and what is wrong with some."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import topology
from chaos.errors import ScenarioError
from chaos.model import Endpoint, Service

SHIPPED = Path(topology.__file__).parent.parent / "compose"


def written(folder: Path, text: str) -> Path:
    """`compose.yaml` in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "compose.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaints(path: Path) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        topology.load(path)
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in SHIPPED.glob("*/compose.yaml")))
def test_every_shipped_topology_is_found_by_its_name_from_anywhere(name: str, tmp_path: Path) -> None:
    found = topology.find(name, tmp_path)
    assert found.name == name
    assert found.file == str(SHIPPED / name / "compose.yaml")
    assert {"client", "server"} <= set(found.services)
    assert SHIPPED.joinpath(name, "compose.yaml").read_text(encoding="utf-8").startswith("# ")


def test_client_server_listens_on_8080(tmp_path: Path) -> None:
    assert topology.find("client-server", tmp_path).services["server"] == Service(
        "server", image="connect-chaos/node", listen=8080
    )


def test_a_compose_file_of_the_users_own_with_all_that_compose_allows(tmp_path: Path) -> None:
    path = written(
        tmp_path / "shop",
        """
x-common: &common
  restart: always
  image: shop/base:${TAG:-latest}
services:
  web: {<<: *common, build: ., ports: ["80:80"], depends_on: [redis, proxy]}
  redis:
    <<: [*common]
    image: redis:7
    volumes: !override [data:/data]
    x-chaos: {listen: 6379, netns: {command: [redis-server, --port, 6379]}}
  proxy:
    x-chaos: {toxiproxy: {listen: 26379, upstream: "redis:6379"}}
  idle:
volumes: {data: }
""",
    )
    assert topology.load(path).services == {
        "web": Service("web", image="shop/base:${TAG:-latest}", product=True),
        "redis": Service(
            "redis", image="redis:7", command=("redis-server", "--port", "6379"), listen=6379, product=True
        ),
        "proxy": Service("proxy", proxy=(26379, Endpoint("redis", 6379))),
        "idle": Service("idle"),
    }


def test_a_path_is_seen_from_the_scenario_and_a_name_from_the_folders_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "services: {a: , b: }"
    own, named = written(tmp_path / "deploy", text), written(tmp_path / "compose" / "shop", text)
    beside = tmp_path / "scenarios" / "refused"
    beside.mkdir(parents=True)
    assert topology.find("../../deploy/compose.yaml", beside).file == str(own)
    assert topology.find("shop", beside).file == str(named)
    assert "shop" in topology.names(beside)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, "services: {a: }")
    assert topology.load(path) is topology.load(path)
    path.write_text("services: {a: , b: }", encoding="utf-8")
    assert set(topology.load(path).services) == {"a", "b"}


def test_an_unknown_name_lists_or_suggests_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"unknown topology `dual-stak` \(did you mean 'dual-stack'\?\)"):
        topology.find("dual-stak", tmp_path)
    with pytest.raises(ScenarioError, match=r"unknown topology `zzz`; known: client-server, dual-stack"):
        topology.find("zzz", tmp_path)
    with pytest.raises(ScenarioError, match="unknown topology"):
        topology.find("..", tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version: '3'", "1:1: a Compose file has `services`, with at least one in it"),
        ("services: {}", "1:1: a Compose file has `services`, with at least one in it"),
        ("services: [a]", "1:1: a Compose file has `services`, with at least one in it"),
        ("services: {router: }", "1:12: the name `router` is taken by the node that the lab adds"),
        ("services: {my_db: }", "1:12: `my_db`: a node's name is a-z, 0-9 and -, at most 32 characters"),
        ("services: {a: {x-chaos: {listn: 1}}}", "1:26: unknown key `listn` (did you mean 'listen'?)"),
        ("services: {a: {x-chaos: {listen: 0}}}", "1:34: expected a port from 1 to 65535, got 0"),
        ("services: {a: {x-chaos: {netns: {command: ls}}}}", "1:43: expected a list, got 'ls'"),
        ("services: {a: {x-chaos: {toxiproxy: {listen: 1}}}}", "1:37: `upstream` is missing"),
        (
            "services: {a: {x-chaos: {toxiproxy: {listen: 1, upstream: b}}}}",
            "1:59: expected an upstream such as 'server:8080', got 'b'",
        ),
        (
            "services: {ab: , a: {x-chaos: {toxiproxy: {listen: 1, upstream: 'abc:1'}}}}",
            "1:65: no service `abc` (did you mean 'ab'?)",
        ),
        ("services: {a: *b}", "1:15: the alias *b has no finished anchor before it"),
        ("services: &a {a: *a}", "1:18: the alias *a has no finished anchor before it"),
    ],
)
def test_what_is_wrong_has_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaints(written(tmp_path, text)) == [complaint]


def test_aliases_may_not_unfold_without_end(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    (complaint,) = complaints(written(tmp_path, "\n".join(lines)))
    assert complaint.endswith("unfolds to more than 20000 values")
