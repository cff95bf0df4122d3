"""`exec`, `up` and `shell` with the docker backend: programs in containers, on the user's own streams and terminal."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.backends import runs
from tests import engines
from tests.engines import NOTHING, docker_engine, labelled
from tests.playing import CHAOS, PATIENCE, Up, on_a_terminal, runtime, shell, up

__all__ = ["docker_engine", "runtime"]
pytestmark = [pytest.mark.usefixtures("docker_engine", "runtime"), pytest.mark.slow("starts containers")]

SHOP = """
services:
  app: {{image: {image}, command: [sleep, infinity]}}
  web: {{image: {image}, command: [python3, -m, http.server, "8000"], x-chaos: {{listen: 8000}}}}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[str]:
    for image in engines.tagged("connect-chaos-test/play:1"):
        (tmp_path / "compose.yaml").write_text(SHOP.format(image=image))
        yield str(tmp_path / "compose.yaml")


def owned_by(pid: int) -> bool:
    """Whether a process has anything in the engine."""
    return labelled(f"{runs.OWNER}={pid}") != NOTHING


def in_a_lab(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    whole = [*CHAOS, "exec", "--backend", "docker", *argv]
    return subprocess.run(whole, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_exec_breaks_the_network_under_a_command_in_the_client_s_container() -> None:
    script = (
        'read line; echo "$line $(getent hosts server | wc -l)" "<$http_proxy>"; curl -sS -m 0.5 http://server:8080/'
    )
    done = in_a_lab("--json", "--fault", "drop:segment=syn", "--", "sh", "-c", script, stdin="typed\n")
    assert (done.returncode, done.stdout) == (28, "typed 1 <>\n"), done.stderr
    told = json.loads(done.stderr.splitlines()[-1])
    assert (told["verdict"], told["backend"], told["exit"]) == ("PASS", "docker", 28)
    assert "curl: (28)" in done.stderr


def test_exec_in_a_service_of_the_users_own(shop: str) -> None:
    options = ["--topology", shop, "--node", "app", "--fault", "closed-port"]
    done = in_a_lab(*options, "--", "curl", "-sS", "http://web:8000/")
    assert done.returncode == 7, done.stderr
    assert "on the wire at app: > syn, < rst" in done.stderr


def test_a_lab_stays_and_serves_programs_and_terminals() -> None:
    with up("--backend", "docker", "--fault", "drop:segment=syn") as running:
        assert (running.told["backend"], running.told["pid"]) == ("docker", running.process.pid)
        done = shell("client", "--", "sh", "-c", "cat; echo no >&2; exit 7", stdin="x" * 100_000)
        assert (done.returncode, len(done.stdout), done.stderr) == (7, 100_000, "no\n")
        assert shell("client", "--", "curl", "-sS", "-m", "0.3", "http://server:8080/").returncode == 28
        assert shell("router", "--", "ip", "link", "show", "wire0").returncode == 0
        assert shell("client", "--", "no-such-program").returncode == 3
        done = shell("client", stdin="echo $0; exit 3\n")
        assert (done.returncode, done.stdout) == (3, "bash\n")
        argv = ["shell", "client", "--", "sh", "-c", "tty; echo ready; read status; exit $status"]
        status, seen = on_a_terminal(*argv, typed=b"5\n")
        assert (status, "/dev/pts/" in seen) == (5, True), seen
        hangs_up(running)
        assert owned_by(running.process.pid)
        assert subprocess.run([*CHAOS, "down"], check=False, timeout=PATIENCE).returncode == 0
        assert running.process.wait(PATIENCE) == 0
        assert not owned_by(running.process.pid)


def hangs_up(running: Up) -> None:
    """A program ends with the `shell` that ran it."""
    argv = [*CHAOS, "shell", "server", "--", "sh", "-c", "echo ready; exec sleep 4321"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        user.kill()
    look = ["sh", "-c", "grep -lx 'sleep.4321.' -a /proc/[0-9]*/cmdline 2> /dev/null | wc -l"]
    for _ in range(20):
        if shell("server", "--", *look).stdout == "0\n":
            return
    pytest.fail("the program still runs")


def test_ctrl_c_in_a_throwaway_lab_reaches_the_program() -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    options = ["shell", "client", "--backend", "docker"]
    status, seen = on_a_terminal(*options, "--", "sh", "-c", script, typed=b"\3")
    assert (status, "caught\r\n" in seen) == (9, True), seen
