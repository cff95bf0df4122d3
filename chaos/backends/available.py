"""What the engine must have before a lab is started: images, by name. Nothing is pulled or built on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from chaos import toxiproxy
from chaos.backends import composed, engine, image
from chaos.errors import LabError, ToolMissing
from chaos.model import Topology

if TYPE_CHECKING:
    from docker import APIClient


def check_ours(api: APIClient) -> None:
    """ToolMissing unless the image of our nodes is there, with the agent of this very version."""
    labels = _labels(api, image.tag())
    if labels is None:
        raise ToolMissing(f"the image {image.tag()}", image.MEND)
    if labels.get(image.AGENT_LABEL) != image.agent_hash():
        raise ToolMissing(f"the image {image.tag()} with this version's agent", image.MEND)


def stand_in(api: APIClient, config: Mapping[str, Any], topology: Topology) -> None:
    """Where the engine has not the image of a Toxiproxy, the one that we made of its server is the service's."""
    for name in composed.proxies(topology):
        wanted = composed.image_of(config, name)
        if _labels(api, wanted) is None:
            if _labels(api, toxiproxy.OUR_IMAGE) is None:
                raise ToolMissing(f"the image {wanted}, or {toxiproxy.OUR_IMAGE}", image.MEND)
            config["services"][name]["image"] = toxiproxy.OUR_IMAGE


def check(api: APIClient, names: Iterable[str], file: str) -> None:
    """LabError that names every image of the Compose file that the engine does not have."""
    missing = [name for name in sorted(set(names)) if _labels(api, name) is None]
    if missing:
        mend = f"`docker compose -f {file} pull` or `docker compose -f {file} build`"
        raise LabError(f"the engine does not have the image {', '.join(missing)}: {mend}")


def has(api: APIClient, name: str) -> bool:
    """Whether the engine has this image."""
    return _labels(api, name) is not None


def _labels(api: APIClient, name: str) -> Mapping[str, str] | None:
    """The labels of an image; None where there is no such image."""
    from docker.errors import ImageNotFound

    try:
        return engine.image(api, name)["Config"]["Labels"] or {}
    except ImageNotFound:
        return None
