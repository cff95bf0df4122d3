"""`connect-chaos doctor`: what it tries, and the lines that mend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chaos.backends import engine
from chaos.backends.netns import Netns
from chaos.cli import main
from chaos.commands import doctor
from chaos.errors import LabError, ToolMissing
from chaos.probes import containers, inside, namespaces
from chaos.probes.probe import Probe, tried


def fail(error: Exception) -> str:
    raise error


def test_what_works_says_what_was_found() -> None:
    assert tried("curl", lambda: "curl 8", "mend") == Probe("curl", True, "curl 8")


@pytest.mark.parametrize(
    ("error", "detail", "mend"),
    [
        (LabError("no\nmatch"), "no match", "mend"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied", "mend"),
        (ToolMissing("curl", "apt-get install curl"), "curl: not found", "apt-get install curl"),
    ],
)
def test_what_does_not_work_says_why_and_how_to_mend_it(error: Exception, detail: str, mend: str) -> None:
    assert tried("x", lambda: fail(error), "mend", needed=True) == Probe("x", False, detail, mend, needed=True)


@pytest.mark.slow("tries everything")
def test_here_the_netns_backend_works(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    probes = {probe["name"]: probe for probe in told["probes"]}
    assert (status, told["netns"]) == (0, True)
    assert list(probes) == [
        *("namespaces as root", "namespaces unprivileged", *inside.NAMES, "connect over IPv6"),
        *("curl", "Toxiproxy", *containers.NAMES, "cgroup2 and BPF"),
    ]
    assert all(probe["ok"] for probe in probes.values() if probe["needed"])
    assert all(probe["mend"] for probe in probes.values() if probe["ok"] is False)
    assert "icmp-admin-prohibited" in probes["iptables REJECT"]["detail"]
    assert "icmp6-no-route" in probes["connect over IPv6"]["detail"]


@pytest.mark.slow("starts a session")
def test_without_iptables_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ip").symlink_to(str(shutil.which("ip")))
    monkeypatch.setenv("PATH", str(tmp_path))
    status = main(["doctor"])
    out = capsys.readouterr().out
    assert status == 3
    assert "MISSING  iptables " in out
    assert "mend: apt-get install iptables\n" in out
    assert "absent   curl                      curl: not found\n" in out
    assert out.endswith("the netns backend does not work here\n")


def test_without_namespaces_every_probe_of_a_lab_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Netns, "__enter__", lambda self: fail(LabError("namespaces cannot be made here")))
    found = list(inside.probes())
    assert [probe.name for probe in found] == [*inside.NAMES]
    assert not any(probe.ok for probe in found)
    assert "no lab: namespaces cannot be made here" in found[0].detail


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
        ("user/max_user_namespaces", "15000", namespaces.CONTAINER),
    ],
)
def test_the_sysctl_that_forbids_namespaces_is_named(name: str, value: str, line: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(value + "\n")
    assert namespaces.mend(tmp_path) == line


@pytest.mark.parametrize(
    ("versions", "ok", "detail"),
    [
        (["1.29.2"], False, "v2 or later"),
        (["1.29.2", "v2.26.1"], True, "2.26.1"),
        (["5.6.1"], True, "5.6.1"),
        ([], False, "Docker Compose: not found"),
    ],
)
def test_compose_is_version_2_or_later(
    versions: list[str], ok: bool, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(number) for number in range(len(versions))]
    for path, version in zip(paths, versions, strict=True):
        path.write_text(f"#!/bin/sh\necho {version}\n")
        path.chmod(0o755)
    monkeypatch.setattr(engine, "_candidates", lambda: map(str, paths))
    monkeypatch.setattr(engine, "compose", engine.compose.__wrapped__)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    probes = {probe.name: probe for probe in containers.probes()}
    assert probes["Docker Compose"].ok is ok
    assert detail in probes["Docker Compose"].detail
    assert probes["Docker engine"].ok is False
    assert [probes[name].ok for name in containers.NAMES[2:]] == [None, None]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "rootless: "),
        ({"OperatingSystem": "Docker Desktop"}, "Docker Desktop: "),
        ({"KernelVersion": "4.19.0-remote"}, "on another kernel than ours"),
    ],
)
def test_an_engine_that_is_not_the_machine_s_root_is_told(said: dict[str, Any], told: str) -> None:
    class Api:
        def info(self) -> dict[str, Any]:
            return {"ServerVersion": "28.0", **said}

    api: Any = Api()
    assert told in containers._engine(api)


def test_a_line_says_whether_it_matters() -> None:
    assert doctor.told(Probe("TUN", False, "no", "modprobe tun")).splitlines() == [
        "absent   TUN                       no",
        "                                   mend: modprobe tun",
    ]
    assert doctor.told(Probe("ip", False, "no", needed=True)) == "MISSING  ip                        no"
    assert doctor.told(Probe("namespaces as root", None, "we are not root")).startswith("-        namespaces as root")
