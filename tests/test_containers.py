"""What the pages on containers promise: what is refused as Compose reads it, who may do what, what works by hand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos import topology, toxiproxy
from chaos.backends import available, composed, containers, engine, image, runs
from chaos.backends.docker import Docker
from chaos.errors import LabError
from chaos.model import Endpoint, Listen, Setting
from chaos.probes import containers as probes
from tests import engines
from tests.engines import docker_engine, tagged
from tests.source import ROOT

__all__ = ["docker_engine"]
STARTS = "starts containers"
WITH_ENGINE = pytest.mark.usefixtures("docker_engine")


@pytest.fixture(scope="module")
def compose() -> str:
    try:
        return engine.compose()
    except LabError as missing:
        engines.lacks(str(missing))
        raise


# -- what is refused

REFUSED = """
services:
  host: {image: it, network_mode: host}
  privileged: {image: it, privileged: true}
  named: {image: it, container_name: mine}
  joined: {image: it, networks: [outside]}
  placed: {image: it, networks: {inside: {ipv4_address: 10.9.8.7}}}
  placed6: {image: it, networks: {inside: {ipv6_address: "fd00::7"}}}
  writes: {image: it, volumes: ["./data:/data"]}
  reads: {image: it, volumes: ["./data:/data:ro"]}
  stores: {image: it, volumes: ["elsewhere:/data"]}
  sees: {image: it, pid: host}
  device: {image: it, devices: ["/dev/null:/dev/null"]}
  many: {image: it, deploy: {replicas: 2}}
  harmless: {image: it, ports: ["8080:80"], restart: always, networks: [inside], volumes: ["own:/data"]}
networks:
  outside: {external: true}
  inside: {ipam: {config: [{subnet: 10.9.8.0/24}]}}
volumes:
  elsewhere: {external: true}
  own: {}
"""
NAMED = {
    "service `host`": "network_mode `host`",
    "service `privileged`": "`privileged`",
    "service `named`": "`container_name`",
    "service `placed`": "fixed `ipv4_address` in network `inside`",
    "service `placed6`": "fixed `ipv6_address` in network `inside`",
    "service `writes`": "of the host is mounted writable",
    "service `sees`": "`pid: host`",
    "service `device`": "`devices`",
    "service `many`": "2 replicas",
    "network `outside`": "is external",
    "volume `elsewhere`": "is external",
}


@pytest.mark.slow("asks Compose what a file means")
def test_what_is_refused_is_refused_as_compose_reads_it(compose: str, tmp_path: Path) -> None:
    """Compose writes short forms out: what is refused is looked for in what it says."""
    (tmp_path / "compose.yaml").write_text(REFUSED)
    argv = [compose, "-f", str(tmp_path / "compose.yaml"), "config", "--format", "json"]
    config = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    found = composed.refusals(config)
    assert {re.match(r"\w+ `\w+`", text)[0] for text in found} == NAMED.keys()  # type: ignore[index]
    for place, what in NAMED.items():
        assert [what in text for text in found if text.startswith(place)] == [True], place


# -- who may do what

SHOP = """
services:
  app: {{image: {image}, command: [sleep, infinity]}}
  web: {{image: {image}, command: [python3, -m, http.server, "8000"], ports: ["8000:8000"], x-chaos: {{listen: 8000}}}}
  ours: {{image: connect-chaos/node, command: [sleep, infinity]}}
"""


@WITH_ENGINE
@pytest.mark.slow(STARTS)
def test_running_containers_may_do_what_the_page_says_and_publish_nothing(tmp_path: Path) -> None:
    page, seen = (ROOT / "docs" / "docker.md").read_text(), {}
    for tag in tagged("connect-chaos-test/allowed:1"):
        (tmp_path / "compose.yaml").write_text(SHOP.format(image=tag))
        listen, target = Listen("web", 8000), Endpoint("web", 8000)
        setting = Setting(topology.load(tmp_path / "compose.yaml"), client="app", listen=listen, target=target)
        with Docker() as session, session.start(setting):
            seen = inspected(f"{runs.RUN}={session._run}")
    base, client = {"NET_ADMIN", "NET_RAW"}, {"KILL", "SYS_PTRACE"}
    allowed = {"web.agent": base, "app.agent": base | client, "router": base, "ours": base}
    assert seen.keys() == {*allowed, "app", "web"}
    for name, it in seen.items():
        host = it["HostConfig"]
        assert (host["Privileged"], host["NetworkMode"] == "host", host["Binds"] or []) == (False, False, [])
        assert not host["PortBindings"]
        assert not [ports for ports in it["NetworkSettings"]["Ports"].values() if ports]
        if name in allowed:
            assert host["CapDrop"] == ["ALL"]
            assert {one.removeprefix("CAP_") for one in host["CapAdd"]} == allowed[name]
            assert [one for one in allowed[name] if f"{one}" not in page] == []
            assert "no-new-privileges:true" in host["SecurityOpt"]
        else:  # the user's own keep Docker's confinement
            assert (host["CapDrop"], host["CapAdd"], host["SecurityOpt"]) == (None, None, None)


def inspected(label: str) -> dict[str, Any]:
    """What the engine knows of the containers with this label, by service."""
    api = engine.api()
    try:
        found = [api.inspect_container(it["Id"]) for it in api.containers(filters={"label": label})]
    finally:
        api.close()
    return {it["Config"]["Labels"][containers.SERVICE]: it for it in found}


# -- by hand


@contextmanager
def by_hand(compose: str, name: str) -> Iterator[list[str]]:
    """`docker compose up` of a shipped topology, as its first lines say; Compose with its options."""
    project = f"connect-chaos-test-{name}-{os.getpid()}"
    argv = [compose, "-f", str(ROOT / "compose" / name / "compose.yaml"), "-p", project]
    try:
        subprocess.run([*argv, "up", "-d", "--pull", "never"], check=True, capture_output=True)
        yield argv
    finally:
        subprocess.run([*argv, "down", "-t", "0", "-v"], check=True, capture_output=True)


@WITH_ENGINE
@pytest.mark.slow(STARTS)
@pytest.mark.parametrize("name", ["client-server", "dual-stack", "toxiproxy"])
def test_a_shipped_topology_comes_up_by_hand(compose: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = engine.api()
    if name == "toxiproxy" and not available.has(api, toxiproxy.IMAGE):
        monkeypatch.setenv("TOXIPROXY_IMAGE", toxiproxy.OUR_IMAGE)
    api.close()
    with by_hand(compose, name) as argv:
        first = (ROOT / "compose" / name / "compose.yaml").read_text().splitlines()[1]
        serve, ask = ("python3 -m http.server 8080", "curl http://server:8080/")
        assert name == "toxiproxy" or (serve in first and ask in first), "the file says how"
        subprocess.run([*argv, "exec", "-d", "server", *serve.split()], check=True, capture_output=True)
        patient = [*ask.split(), "-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
        done = subprocess.run([*argv, "exec", "-T", "client", *patient], capture_output=True, text=True, check=False)
        assert "Directory listing" in done.stdout, done.stderr


@WITH_ENGINE
@pytest.mark.slow(STARTS)
def test_doctor_finds_what_is_there() -> None:
    found = {probe.name: probe for probe in probes.probes()}
    assert {name: found[name].ok for name in probes.NAMES[:3]} == dict.fromkeys(probes.NAMES[:3], True)
    assert engine.address() in found["Docker engine"].detail


# -- the netns backend in one container


@WITH_ENGINE
@pytest.mark.slow("runs scenarios in a container, and three seconds of a kernel's timer with them")
def test_the_readme_s_line_for_macos_gives_the_netns_backend_what_it_needs() -> None:
    """The same options on an image that is here: our own, with this very interpreter and checkout mounted."""
    (line,) = re.findall(r"docker run (.*?) \\\n\s+python", (ROOT / "README.md").read_text(), re.DOTALL)
    words = shlex.split(line.replace('"$PWD:/work"', f"{ROOT}:{ROOT}").replace("-w /work", f"-w {ROOT}"))
    told = {key: words[at + 1 :: 1][0] for at, key in enumerate(words) if key in ("-v", "-w")}
    adds = [words[at + 1] for at, key in enumerate(words) if key == "--cap-add"]
    security = [words[at + 1] for at, key in enumerate(words) if key == "--security-opt"]
    if not sys.executable.startswith(f"{ROOT}/") or Path(sys.executable).resolve().parts[:2] != ("/", "usr"):
        pytest.skip("the container has Debian's Python, and the tests run with another one")
    api = engine.api()
    files = ["scenarios/refused/closed-port.chaos.yaml", "scenarios/timeout/dropped-syn.chaos.yaml"]
    argv = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--chaos-strict", *files]
    limits = api.create_host_config(binds=[told["-v"]], cap_add=adds, security_opt=security, network_mode="none")
    made = api.create_container(image.tag(), argv, working_dir=told["-w"], host_config=limits)["Id"]
    try:
        api.start(made)
        status = api.wait(made, timeout=120)["StatusCode"]
        assert status == 0, api.logs(made).decode()
    finally:
        api.remove_container(made, force=True)
        api.close()
