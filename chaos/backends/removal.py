"""What a run has made in the engine, and its removal: only what carries the run's labels, never anything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from chaos.backends import runs
from chaos.errors import LabError

if TYPE_CHECKING:
    from docker import APIClient

AT_ONCE = 8
LEAVING, SOON = 5.0, 0.1
"""Seconds in which a container that was removed leaves its network, and between two looks: a busy engine says of the
one that it is gone, and of the other that it has `active endpoints`."""


def remove(api: APIClient, label: str) -> int:
    """Remove containers, networks and volumes with this label (`NAME` or `NAME=VALUE`); how many there were."""
    filters = {"label": label}
    containers = [it["Id"] for it in api.containers(all=True, filters=filters)]
    _all(lambda one: api.remove_container(one, force=True, v=True), containers)
    networks = [it["Id"] for it in api.networks(filters=filters)]
    _all(api.remove_network, networks)
    volumes = [it["Name"] for it in api.volumes(filters=filters)["Volumes"] or ()]
    _all(lambda one: api.remove_volume(one, force=True), volumes)
    return len(containers) + len(networks) + len(volumes)


def _all(do: Callable[[str], Any], ids: Iterable[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda one: _one(do, one), ids))


def _one(do: Callable[[str], Any], name: str) -> None:
    """Once, or as soon as containers have left a network; what another remover was quicker with is no matter."""
    from docker.errors import APIError, NotFound

    patience = time.monotonic() + LEAVING
    while True:
        try:
            do(name)
        except NotFound:
            pass
        except APIError as error:
            if "active endpoints" in str(error) and time.monotonic() <= patience:
                time.sleep(SOON)
                continue
            if error.status_code != 409:  # its removal is already in progress, or a container still leaves it
                raise LabError(f"the engine does not remove {name[:20]}: {error.explanation or error}") from error
        return


def found(api: APIClient) -> Mapping[str, Mapping[str, str]]:
    """The runs that have anything in the engine: their labels by run id."""
    filters = {"label": runs.RUN}
    everything = [*api.containers(all=True, filters=filters), *api.networks(filters=filters)]
    everything += api.volumes(filters=filters)["Volumes"] or ()
    return {labels[runs.RUN]: labels for it in everything if (labels := it.get("Labels") or {})}


def remove_dead(api: APIClient) -> list[str]:
    """Remove all runs whose owner is dead, and none that lives; their ids."""
    gone = dead(api)
    for run in gone:
        remove(api, f"{runs.RUN}={run}")
    return gone


def dead(api: APIClient) -> list[str]:
    """The runs that have something in the engine and whose owner is dead."""
    return sorted(run for run, labels in found(api).items() if runs.dead(labels))
