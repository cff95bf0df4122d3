"""Engines of every address, and engines that end: what is found, what is said, and that nothing waits for ever."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.backends import _client, engine, reaper, runs
from chaos.backends.docker import Docker
from chaos.errors import LabError, ToolMissing
from chaos.run import run
from chaos.scenario import load
from tests.between import Between, at, certificates, on_loopback
from tests.deaths import Doing
from tests.engines import NOTHING, await_containers, docker_engine, labelled, without_router
from tests.load import busy
from tests.source import ROOT
from tests.throwaway import Throwaway, throwaway, with_our_image

__all__ = ["docker_engine"]
STARTS = "starts containers"
VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


def passes() -> None:
    """Attached agents, a capture, and Compose, all at the address that is named now; and nothing is left there."""
    with Docker() as session:
        result = run(without_router("refused/closed-port"), session)
        assert (result.verdict.kind, result.verdict.reasons) == ("PASS", ())
    assert labelled(f"{runs.RUN}={session._run}") == NOTHING


# -- where it is


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No engine is named, and the docker command's configuration is in this folder: there is none yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def there(docker_engine: None) -> str:
    """Where the engine is that the tests have."""
    where = engine.address()
    if not where.startswith("unix://"):
        pytest.skip("these are tests of addresses, and of an engine on this machine")
    return where


@contextmanager
def over_tcp(goal: str, tls: Path | None = None) -> Iterator[str]:
    """An address of the loopback interface that leads to the engine; with TLS if there is a folder for certificates."""
    listening = on_loopback()
    between = Between(listening, goal, certificates(tls) if tls else None)
    try:
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        between.die()
        with warnings.catch_warnings(action="ignore"):  # docker-py loses sockets over TLS: not in somebody else's test
            gc.collect()


def context(configuration: Path, name: str, host: str, tls: Path | None = None) -> None:
    """What `docker context create NAME --docker host=HOST,ca=...,cert=...,key=...` writes."""
    number = hashlib.sha256(name.encode()).hexdigest()
    told = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    meta = configuration / "contexts" / "meta" / number / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps(told))
    if tls is not None:
        files = configuration / "contexts" / "tls" / number / "docker"
        files.mkdir(parents=True)
        for file in ("ca.pem", "cert.pem", "key.pem"):
            shutil.copy(tls / file, files)


def use(configuration: Path, name: str) -> None:
    """What `docker context use NAME` writes."""
    (configuration / "config.json").write_text(json.dumps({"currentContext": name}))


@pytest.mark.slow(STARTS)
def test_an_engine_over_tcp(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with over_tcp(there) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        passes()


@pytest.mark.slow(STARTS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the same within the test
def test_an_engine_over_tls(there: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with over_tcp(there, tmp_path) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        with pytest.raises(ToolMissing, match="does not answer"):
            engine.api()
        gc.collect()
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        passes()


@pytest.mark.slow(STARTS)
def test_the_context_that_is_chosen(there: str, configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKER_HOST before DOCKER_CONTEXT before `docker context use`, for us and for Compose."""
    (tls := configuration / "certificates").mkdir()
    with over_tcp(there, tls) as host:
        context(configuration, "here", there)
        context(configuration, "with-tls", host, tls)
        context(configuration, "nobody", "tcp://127.0.0.1:9")
        use(configuration, "here")
        assert engine.address() == there
        passes()
        use(configuration, "nobody")
        monkeypatch.setenv("DOCKER_CONTEXT", "with-tls")
        assert engine.address() == host
        passes()
        monkeypatch.setenv("DOCKER_CONTEXT", "nobody")
        with pytest.raises(ToolMissing, match=r"a Docker Engine at tcp://127\.0\.0\.1:9"):
            engine.api()
        monkeypatch.setenv("DOCKER_HOST", there)
        engine.api().close()


@pytest.mark.parametrize("chosen", ["by DOCKER_CONTEXT", "by use"])
def test_a_context_that_does_not_exist_is_an_error(
    chosen: str, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen == "by use":
        use(configuration, "gone")
    else:
        monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(LabError, match=r"no docker context `gone`.*docker context ls"):
        engine.api()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"DOCKER_HOST": "nonsense"}, r"at nonsense cannot be asked: .*port is required"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, r"at tcp://127\.0\.0\.1:9 does not answer: .*refused"),
        ({"DOCKER_HOST": "ssh://root@127.0.0.1"}, "paramiko, for the Docker Engine at ssh://.*pip install paramiko"),
        (
            {"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": os.devnull},
            "cannot be asked: .*certificate",
        ),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error(
    variables: dict[str, str], says: str, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "docker.transport.sshconn", None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LabError, match=says):
        engine.api()


# -- how it ends

PRODUCT = "connect-chaos-test/engine:1"
SHOP = f"""
services:
  app: {{image: {PRODUCT}, command: [sleep, infinity]}}
  web: {{image: {PRODUCT}, command: [python3, -m, http.server, "8000"], x-chaos: {{listen: 8000}}}}
"""
IN_A_PRODUCT = """# A SYN is dropped, and the program waits in the container of its own image
topology: ./shop.yaml
path: direct
faults: [{drop: {at: web, segment: syn}}]
client: {node: app, command: [curl, -sS, "http://{target}/"]}
expect: {error: ETIMEDOUT}
"""
FOR_LONG = """# A SYN is dropped, and the kernel waits two minutes
timing: real
path: direct
faults: [{drop: {at: server, segment: syn}}]
expect: {error: ETIMEDOUT}
"""
SOON = 20.0
"""Seconds within which the death of an engine must have been told."""


@pytest.fixture
def mortal(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Throwaway]:
    """An engine with our image that is named until the test ends, and a shop of the user's own."""
    (tmp_path / "shop.yaml").write_text(SHOP)
    with throwaway() as other:
        with_our_image(other.host, PRODUCT)
        with monkeypatch.context() as patch:
            patch.setenv("DOCKER_HOST", other.host)
            yield other
            gc.collect()  # docker-py loses the sockets of connections that were refused; the test's mark is for them
    assert not other.state.exists()


@pytest.mark.slow(STARTS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the same within the test
def test_a_dockerd_that_is_killed_is_named_by_all_whom_it_served(
    mortal: Throwaway, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the middle of three attempts: of another pytest's; of the agent in a node of ours; of a program by exec."""
    (tmp_path / "product.chaos.yaml").write_text(IN_A_PRODUCT)
    todo = [without_router("timeout/dropped-syn"), load(tmp_path / "product.chaos.yaml").cases[0]]
    died: list[float] = []

    def kill() -> None:
        os.kill(mortal.pid, signal.SIGKILL)
        died.append(time.monotonic())

    armed = threading.Barrier(len(todo), threading.Timer(0.5, kill).start, timeout=60)
    mined = [replace(case, faults=(*case.faults, ("doing", Doing(armed.wait)))) for case in todo]
    with pytest_that_waits(tmp_path / "long") as other, Docker() as session:
        with ThreadPoolExecutor(len(todo)) as threads:
            results = list(threads.map(lambda case: run(case, session), mined))
        assert time.monotonic() - died[0] < SOON * busy()
        for result in (*results, run(todo[0], session)):
            assert result.verdict.kind == "INVALID"
            assert f"the Docker Engine at {mortal.host} does not answer" in str(result.verdict.reasons)
        its_own, _ = other.communicate(timeout=SOON * busy())
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith(f"what is left of {session._run}: `connect-chaos clean`\n")
    assert other.returncode == 1, its_own
    assert "1 error" in its_own
    assert f"the Docker Engine at {mortal.host} does not answer" in its_own
    assert "Traceback" not in its_own


@contextmanager
def pytest_that_waits(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A session of its own, with a scenario that lasts; all its containers have been started."""
    folder.mkdir()
    (folder / "long.chaos.yaml").write_text(FOR_LONG)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--chaos-backend=docker", str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as one:
        await_containers(one, 2)
        yield one


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Somebody who is connected to and never answers, as the socket of a dockerd that is stopped."""
    with at(str(tmp_path / "frozen.sock")):
        yield f"unix://{tmp_path}/frozen.sock"


def test_an_engine_that_is_frozen_is_waited_for_once(frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer may be late; after one that never came there is no such patience."""
    monkeypatch.setattr(_client, "IMPATIENT", 0.01)
    api = _client.Client(frozen, base_url=frozen, version=engine.OLDEST, timeout=0.2)
    took = []
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(LabError, match=f"the Docker Engine at {frozen} does not answer: timed out"):
            api.containers()
        took.append(time.monotonic() - started)
    api.close()
    assert took[0] >= 0.2
    assert max(took[1:]) < 0.2


def test_a_reaper_asks_an_engine_that_does_not_answer_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(reaper, "PAUSE", 0.01)
    monkeypatch.setattr(reaper, "LONGEST", 0.1)
    asked: list[str] = []

    def refused(where: str) -> None:
        asked.append(where)
        raise ToolMissing(f"a Docker Engine at {where}", engine.INSTALL)

    monkeypatch.setattr(engine, "_check_socket", refused)
    reaper.reap("a-run")
    assert len(asked) > reaper.LOOKS
    assert capfd.readouterr() == ("", "")
