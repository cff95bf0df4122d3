"""What a user gets by `pip install connect-chaos`: the command, the plugin and the topologies, from the wheel alone."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.source import ROOT

pytestmark = pytest.mark.slow(
    "builds the wheel, installs it in an environment of its own and starts interpreters there"
)

SHIPPED = sorted(path.parent.name for path in ROOT.glob("compose/*/compose.yaml"))


def run(*argv: str | Path, cwd: Path) -> str:
    """Run a program that must succeed; its output."""
    done = subprocess.run(list(map(str, argv)), cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the pinned hatchling of this environment: nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("connect_chaos-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel, and this environment's packages for its dependencies.

    Those are lent by a .pth written last: pip must not see that the checkout is installed here, and a .pth
    inside a lent folder, as that of the checkout, is not followed.
    """
    env = tmp_path_factory.mktemp("user") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=ROOT)
    python = env / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=env)
    (site,) = env.glob("lib/python3*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return env / "bin"


def test_holds_the_package_and_the_topologies(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0].partition("-")[0] for name in names}
    assert tops == {"chaos", "connect_chaos"}
    assert {f"chaos/compose/{name}/compose.yaml" for name in SHIPPED} <= names
    assert {"chaos/py.typed", "chaos/agent/__init__.py"} <= names


def test_the_code_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import chaos; print(chaos.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_the_command_is_there(installed: Path, tmp_path: Path) -> None:
    assert "validate" in run(installed / "connect-chaos", "--help", cwd=tmp_path)


def test_the_plugin_is_loaded_in_any_project(installed: Path, tmp_path: Path) -> None:
    assert "--chaos-backend" in run(installed / "python", "-m", "pytest", "--help", cwd=tmp_path)


def test_shipped_topologies_are_found_by_name(installed: Path, tmp_path: Path) -> None:
    assert "client-server" in SHIPPED
    find = "import sys, pathlib; from chaos.topology import find; print(find(sys.argv[1], pathlib.Path()).file)"
    for name in SHIPPED:
        found = run(installed / "python", "-c", find, name, cwd=tmp_path).strip()
        assert Path(found).is_relative_to(installed.parent), found


def test_scenarios_of_another_project_are_collected(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scenarios" / "handshake"
    folder.mkdir(parents=True)
    (folder / "healthy.chaos.yaml").write_text("# A healthy connect.\ntopology: client-server\nexpect: {error: ok}\n")
    run(installed / "connect-chaos", "validate", "scenarios/handshake/healthy.chaos.yaml", cwd=tmp_path)
    listed = run(installed / "python", "-m", "pytest", "--collect-only", "-q", "scenarios", cwd=tmp_path)
    assert "scenarios/handshake/healthy.chaos.yaml::default" in listed
