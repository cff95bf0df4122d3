"""The plan for containers, typed on the engine's own machine: what the client says, and that nothing is left of it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from chaos import toxiproxy
from chaos.backends import available, engine
from chaos.plan import plan
from chaos.scenario import load
from tests.engines import docker_engine, tagged
from tests.source import ROOT
from tests.test_plan import PRIVATE

__all__ = ["docker_engine"]
pytestmark = [pytest.mark.usefixtures("docker_engine"), pytest.mark.slow("starts containers")]

SHOP = """
services:
  app: {{image: {image}, command: [sleep, infinity]}}
  web: {{image: {image}, command: [python3, -m, http.server, "8000"], ports: ["8000:8000"], x-chaos: {{listen: 8000}}}}
"""
VISIT = """# The shop is visited
topology: ./shop.yaml
faults: [{fault}]
client: {{node: app, command: [python3, -c, "import urllib.request as it; print(it.urlopen('{{url}}').read())"]}}
expect: {{error: ok}}
"""


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The argv that runs a program where dockerd runs, with the docker command's Compose.

    Only with an engine in namespaces of its own: a plan changes those that it runs in.
    """
    where = engine.address()
    if os.geteuid() or not where.startswith("unix://"):
        pytest.skip("a plan is for root on the engine's machine")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(where.removeprefix("unix://"))
        (dockerd, _, _) = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if any(Path(f"/proc/{dockerd}/ns/{kind}").readlink() == Path(f"/proc/self/ns/{kind}").readlink() for kind in NAMES):
        pytest.skip("this engine's namespaces are the machine's: scripts/engine starts one with its own")
    plugin = tmp_path / "docker" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.symlink_to(engine.compose())
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("DOCKER_HOST", where)
    return ["nsenter", "-t", str(dockerd), "-m", "-n", "-p", "--"]


NAMES = ("net", "mnt", "pid")
LEFT = "what is left:"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("{closed-port: {at: web}}", "Connection refused"),
        ("{route: {at: app, kind: unreachable}}", "No route to host"),
        ("", "Directory listing"),
    ],
)
def test_a_product_s_plan_is_typed(fault: str, says: str, inside: list[str], tmp_path: Path) -> None:
    for image in tagged("connect-chaos-test/plan:1"):
        (tmp_path / "shop.yaml").write_text(SHOP.format(image=image))
        (tmp_path / "visit.chaos.yaml").write_text(VISIT.format(fault=fault))
        typed(plan(load(tmp_path / "visit.chaos.yaml").cases[0], docker=True), says, inside)


def test_the_plan_of_a_toxiproxy_is_typed(inside: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    api = engine.api()
    if not available.has(api, toxiproxy.IMAGE):
        monkeypatch.setenv("TOXIPROXY_IMAGE", toxiproxy.OUR_IMAGE)
    api.close()
    case = load(ROOT / "scenarios" / "toxiproxy" / "proxy-down.chaos.yaml").cases[0]
    typed(plan(case, docker=True), "Connection refused", inside)


def typed(text: str, says: str, inside: list[str]) -> None:
    """Run it, its files in an /etc of its own: what its client says, and that nothing of it is there afterwards."""
    left = "ip netns list; docker ps -aq --filter name=chaos-by-hand; ls /etc/netns"
    script = "\n".join([PRIVATE, text, f"echo {LEFT}", left])
    argv = [*inside, "unshare", "--mount", "timeout", "40", "bash", "-s"]
    done = subprocess.run(argv, input=script, capture_output=True, text=True, check=False)
    said, _, remains = done.stdout.partition(f"{LEFT}\n")
    assert says in said + done.stderr, done.stderr
    assert LEFT in done.stdout
    assert remains == "", done.stderr
