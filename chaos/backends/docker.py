"""The docker backend: every service is a container of its own image, behind our router, on one internal network.

`Docker` is a session. A lab is one generated Compose file (composed.py) started by Compose; its agents are attached
(group.py, containers.py) and everything above them is the code of the netns backend. Addresses, in the lab's /24:

    .2 router    .3 dns    .10, .11, ... services    .254 belongs to nobody    2001:db8:SLICE::HOST:2 likewise

Nothing is published, nothing enters a namespace from the host, and everything carries labels (runs.py): it is removed
when the lab ends, by the reaper (reaper.py) when this process is killed, by `clean()` when both are.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from chaos import command
from chaos.backends import composed, engine, image, removal, runs
from chaos.backends.channel import everywhere
from chaos.backends.composed import Slice
from chaos.backends.compressed import JIFFY, UNIT, Compression
from chaos.backends.group import Group, Kind, kind_of
from chaos.backends.lab import AgentLab
from chaos.errors import CommandFailed, LabError, Problem, ScenarioError, ToolMissing
from chaos.model import Setting
from chaos.requires import Answers
from chaos.schedule import Unit

if TYPE_CHECKING:
    import subprocess

    from docker import APIClient

ROOT: Final = Path(__file__).resolve().parents[2]
REAPER: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from chaos.backends.reaper import main; main()"
MORTAL: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.getppid() == int(sys.argv[1]) or os._exit(9); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Compose must not go on starting containers when we are killed: PR_SET_PDEATHSIG, then exec."""
UP: Final = 120.0


class Docker:
    """A session of the docker backend: a context manager; `start` may be called from any thread."""

    labs = 2 * (os.cpu_count() or 1)
    """Labs that may be alive at once: to start one takes a second of processor."""

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex[:12]
        self._labels = runs.labels(self._run)
        self._lock = threading.Lock()
        self._api: APIClient | None = None
        self._folder = Path()
        self._reaper: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._taken: set[int] = set()
        self._starting = threading.Lock()
        self._compression = Compression(top=True)
        self._answers = Answers()
        self._idle: list[Group] = []
        self._configs: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> Docker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove what is left of the run, and let the reaper go."""
        self._compression.close()
        with self._lock:
            api, self._api = self._api, None
            if api is None:
                return
            for group in self._idle:
                group.close()
            try:
                removal.remove(api, f"{runs.RUN}={self._run}")
                with suppress(BrokenPipeError):
                    os.write(self._pipe, b"+")
            finally:
                os.close(self._pipe)
                api.close()
                shutil.rmtree(self._folder, ignore_errors=True)
                if self._reaper is not None:
                    self._reaper.wait()

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        """A running lab for this setting: every agent answers, the wire relays, a listener accepts.

        Its containers serve the next lab of the same kind if this one's recovery has shown that it is as new.
        """
        if setting.timing == "compressed":
            self._compression.attach()
        group = self._group(setting)
        recovered = False
        try:
            lab = group.lab(setting)
            lab.answers = self._answers
            if setting.timing == "compressed":
                self._compress(lab)
            lab.open()
            yield lab
            recovered = lab.recovered
        finally:
            if not (recovered and self._keep(group)):
                self._discard(group)

    def _compress(self, lab: AgentLab) -> None:
        """Have the attempt's time compressed, which the kernel does that the containers and we share."""
        if not all(runs.is_ours(node.call("sysctl", read=[runs.BOOT_ID])) for node in lab.nodes.values()):
            raise ToolMissing("timing: compressed", "an engine on this machine", "the containers run on another kernel")
        cookies = everywhere(lab.nodes, "cookie").values()
        lab.unit, lab.compressed = Unit(UNIT * JIFFY, JIFFY), lambda: self._compression.of(cookies)

    def _group(self, setting: Setting) -> Group:
        """Containers for this setting: those of an earlier lab, or new ones."""
        api = self._open()
        config = self._config(setting.topology.file)
        kind = kind_of(setting)
        if (warm := self._warm(kind)) is not None:
            return warm
        with self._starting:  # one at a time: a processor that starts containers is none that measures
            if (warm := self._warm(kind)) is not None:
                return warm
            share = self._reserve(api)
            label = f"{self._run}-{uuid.uuid4().hex[:8]}"
            try:
                containers = self._up(api, setting, config, share, self._labels | {runs.LAB: label})
                return Group(api, kind, config, share, label, containers)
            except BaseException:
                self._free(api, share, label)
                raise

    def _warm(self, kind: Kind) -> Group | None:
        """Containers of this kind that have served before and are as new."""
        while (group := self._take(kind)) is not None:
            try:
                group.reset()
                return group
            except LabError:  # its agents have died meanwhile
                self._discard(group)
        return None

    def _take(self, kind: Kind) -> Group | None:
        with self._lock:
            found = next((group for group in self._idle if group.kind == kind), None)
            if found is not None:
                self._idle.remove(found)
            return found

    def _keep(self, group: Group) -> bool:
        """Have it wait for the next lab; the one that has waited longest makes room."""
        with self._lock:
            if self._api is None:
                return False
            self._idle.append(group)
            oldest = self._idle.pop(0) if len(self._idle) > self.labs else None
        if oldest is not None:
            self._discard(oldest)
        return True

    def _discard(self, group: Group) -> None:
        group.close()
        self._free(group.api, group.share, group.label)

    def _free(self, api: APIClient, share: Slice, label: str) -> None:
        removal.remove(api, f"{runs.LAB}={label}")
        self._taken.discard(share.number)

    def _open(self) -> APIClient:
        """Connect, see that image and Compose are there, and have a reaper, once for the session."""
        with self._lock:
            if self._api is None:
                api = engine.api()
                engine.compose()
                _check_image(api)
                removal.remove_dead(api)
                self._folder = Path(tempfile.mkdtemp(prefix="connect-chaos-"))
                reader, self._pipe = os.pipe()
                argv = [sys.executable, "-c", REAPER, str(ROOT), self._run, str(reader), str(os.getpid())]
                argv.append(str(self._folder))
                self._reaper = command.start(argv, pass_fds=[reader])
                os.close(reader)
                self._api = api
            return self._api

    def _config(self, file: str) -> Mapping[str, Any]:
        """The user's file as Compose reads it. ScenarioError with all that cannot be kept apart."""
        with self._lock:
            if file not in self._configs:
                try:
                    text = command.output([engine.compose(), "-f", file, "config", "--format", "json"], timeout=UP)
                except CommandFailed as error:
                    raise ScenarioError([Problem(file, 0, 0, f"Compose refuses it: {error.stderr}")]) from error
                config = json.loads(text)
                problems = [Problem(file, 0, 0, text) for text in composed.refusals(config)]
                if problems:
                    raise ScenarioError(problems)
                self._configs[file] = config
            return self._configs[file]

    def _reserve(self, api: APIClient) -> Slice:
        """A slice of the address space that no network of this engine has, as far as can be seen."""
        pools = [pool.get("Subnet") for it in api.networks() for pool in (it["IPAM"]["Config"] or ())]
        with self._lock:
            start = int(self._run, 16) % composed.SLICES
            for number in (*range(start, composed.SLICES), *range(start)):
                if number not in self._taken and Slice(number).subnet("ipv4") not in pools:
                    self._taken.add(number)
                    return Slice(number)
        raise LabError("every slice of 198.18.0.0/15 is taken by a network of this engine")

    def _up(
        self, api: APIClient, setting: Setting, config: Mapping[str, Any], share: Slice, labels: Mapping[str, str]
    ) -> dict[str, str]:
        """Start the generated file; container ids by service."""
        project = f"connect-chaos-{labels[runs.LAB]}"
        data = composed.generate(config, setting, share, labels, project)
        _check_images(api, setting, data)
        file = self._folder / f"{project}.json"
        file.write_text(json.dumps(data, indent=1))
        argv = [engine.compose(), "-p", project, "-f", str(file), "--progress", "quiet", "up", "-d"]
        argv += ["--no-build", "--pull", "never", "--quiet-pull"]
        command.output([sys.executable, "-I", "-S", "-c", MORTAL, str(os.getpid()), *argv], timeout=UP)
        found = api.containers(filters={"label": f"{runs.LAB}={labels[runs.LAB]}"})
        return {it["Labels"]["com.docker.compose.service"]: it["Id"] for it in found}


def _check_image(api: APIClient) -> None:
    from docker.errors import ImageNotFound

    try:
        labels = engine.image(api, image.tag())["Config"]["Labels"] or {}
    except ImageNotFound:
        raise ToolMissing(f"the image {image.tag()}", image.MEND) from None
    if labels.get(image.AGENT_LABEL) != image.agent_hash():
        raise ToolMissing(f"the image {image.tag()} with this version's agent", image.MEND)


def _check_images(api: APIClient, setting: Setting, data: Mapping[str, Any]) -> None:
    """LabError that names every image that the engine does not have; nothing is pulled or built on the way."""
    from docker.errors import ImageNotFound

    missing = []
    for name in sorted({service["image"] for service in data["services"].values()}):
        try:
            engine.image(api, name)
        except ImageNotFound:
            missing.append(name)
    if missing:
        file = setting.topology.file
        mend = f"`docker compose -f {file} pull` or `docker compose -f {file} build`"
        raise LabError(f"the engine does not have the image {', '.join(missing)}: {mend}")


def clean(*, dry: bool = False) -> list[str]:
    """Remove what runs whose owner is dead have left in the engine; their ids. Without an engine there are none.

    `dry`: only find them. ToolMissing when an engine is named and does not answer.
    """
    if not engine.nearby():
        return []
    api = engine.api()
    try:
        return removal.dead(api) if dry else removal.remove_dead(api)
    finally:
        api.close()
