"""The user's own function for a `python` client, taken along into a container that does not have the file.

Of the first folder in which its module is found: the package, or all modules beside it, for it may import them.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaos.errors import LabError

if TYPE_CHECKING:
    from docker import APIClient

PLACE: Final = "tmp/connect-chaos-client"
LARGEST: Final = 4 << 20


class Luggage:
    """What a container has been given, one module a name; what it has is not given to it again."""

    def __init__(self, api: APIClient, container: str) -> None:
        self._api, self._container = api, container
        self._given: dict[str, tuple[Path, int, int]] = {}

    def take(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """The job of surface.py, its function's module copied into the container and its path leading there."""
        found = _files(job["function"], job["path"]) if job.get("function") else {}
        if not found:
            return job
        self._give(job["function"], found)
        return {**job, "path": [f"/{PLACE}", *job["path"]]}

    def _give(self, function: str, found: Mapping[str, Path]) -> None:
        states = ((name, file, file.stat()) for name, file in found.items())
        stamps = {name: (file, state.st_mtime_ns, state.st_size) for name, file, state in states}
        if stamps.items() <= self._given.items():
            return
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, file in found.items():
                tar.add(file, f"{PLACE}/{name}", recursive=False)
        if data.tell() > LARGEST:
            raise LabError(f"`{function}`: more than {LARGEST >> 20} MiB of modules to take into the container")
        self._api.put_archive(self._container, "/", data.getvalue())
        self._given |= stamps


def _files(function: str, path: Iterable[str]) -> dict[str, Path]:
    """What to take, by its name below the folder."""
    top = function.partition(":")[0].partition(".")[0]
    for folder in map(Path, path):
        if (folder / f"{top}.py").is_file():
            return {file.name: file for file in folder.glob("*.py")}
        if (folder / top).is_dir():
            return {str(file.relative_to(folder)): file for file in (folder / top).rglob("*.py")}
    return {}
