"""The docker backend for tests: an engine with Compose and our image, or the reason why there is none."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from chaos.backends import containers, engine, image, runs
from chaos.errors import LabError
from chaos.scenario import Case, load
from tests.shipped import SCENARIOS
from tests.source import ROOT

BUILDER = ROOT / ".cache" / "node-image.lock"
"""Who builds our image while the first tests run holds it (Makefile)."""
LONGEST = 40.0
"""Seconds in which a lab has been started."""


def lacking() -> str | None:
    """What the docker backend lacks here."""
    from docker.errors import ImageNotFound

    with suppress(OSError), BUILDER.open() as builder:
        fcntl.flock(builder, fcntl.LOCK_SH)
    try:
        engine.compose()
        api = engine.api()
    except LabError as error:
        return str(error)
    try:
        engine.image(api, image.tag())
    except ImageNotFound:
        return f"no image {image.tag()}: {image.MEND} builds it"
    finally:
        api.close()
    return None


@pytest.fixture(scope="module")
def docker_engine() -> None:
    """Skip without an engine; in continuous integration that is an error."""
    reason = lacking()
    if reason is not None:
        lacks(reason)


def lacks(reason: str) -> None:
    """Skip what cannot be tested here; in continuous integration that is an error."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def labelled(label: str) -> Mapping[str, list[str]]:
    """What the engine has with this label."""
    api = engine.api()
    try:
        filters = {"label": label}
        return {
            "containers": [it["Id"] for it in api.containers(all=True, filters=filters)],
            "networks": [it["Id"] for it in api.networks(filters=filters)],
            "volumes": [it["Name"] for it in api.volumes(filters=filters)["Volumes"] or ()],
        }
    finally:
        api.close()


NOTHING: Mapping[str, list[str]] = {"containers": [], "networks": [], "volumes": []}


def tagged(name: str) -> Iterator[str]:
    """Our node image under another name, as a product's image; the name goes afterwards."""
    api = engine.api()
    repository, _, tag = name.partition(":")
    api.tag(image.tag(), repository, tag)
    try:
        yield name
    finally:
        api.remove_image(name)
        api.close()


def await_containers(process: subprocess.Popen[Any], count: int) -> None:
    """Until so many containers of this process's labs have been made."""
    end = time.monotonic() + LONGEST
    while len(labelled(f"{runs.OWNER}={process.pid}")["containers"]) < count:
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "no lab"
        time.sleep(0.05)


def without_router(name: str) -> Case:
    """A shipped scenario's first case on the direct path: where the router has no part, a container less is started."""
    case = load(SCENARIOS / f"{name}.chaos.yaml").cases[0]
    return replace(case, setting=replace(case.setting, path="direct"))


def container(label: str, service: str) -> str:
    """The id of a service's container, of those with this label; they are of one lab."""
    api = engine.api()
    try:
        found: list[str] = [
            it["Id"] for it in api.containers(all=True, filters={"label": [label, f"{containers.SERVICE}={service}"]})
        ]
    finally:
        api.close()
    (one,) = found
    return one
