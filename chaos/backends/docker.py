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
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from chaos import command
from chaos.backends import available, composed, containers, engine, removal, runs, slices
from chaos.backends.channel import everywhere
from chaos.backends.composed import Slice
from chaos.backends.compressed import JIFFY, UNIT, Compression
from chaos.backends.group import Group, Kind, kind_of
from chaos.backends.lab import AgentLab
from chaos.errors import CommandFailed, LabError, Problem, ScenarioError, ToolMissing
from chaos.model import Setting, Topology
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
TOLD: Final = 2.0
"""Seconds in which the reaper ends when it has been told that nothing is left."""


class Docker:
    """A session of the docker backend: a context manager; `start` may be called from any thread."""

    labs = max(8, 2 * (os.cpu_count() or 1))
    """Labs that may be alive at once: to start one takes a second of processor, but most of its time it waits."""

    sharing = staticmethod(kind_of)

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex[:12]
        self._labels = runs.labels(self._run)
        self._lock = threading.Lock()
        self._api: APIClient | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._slices = slices.Slices(int(self._run, 16) % composed.SLICES)
        self._starting = threading.Lock()
        self._compression = Compression(top=True)
        self._answers = Answers()
        self._lines = containers.Lines()
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
            except LabError as error:
                print(f"connect-chaos: {error}; what is left of {self._run}: `connect-chaos clean`", file=sys.stderr)
            finally:
                self._lines.end()
                self._let_go()
                api.close()

    def _let_go(self) -> None:
        """End the reaper; one that was told that all is removed has ended already."""
        os.close(self._pipe)
        if self._reaper is not None:
            command.await_end(self._reaper, TOLD)

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        """A running lab for this setting: every agent answers, the wire relays, a listener accepts.

        Its containers serve the next lab of the same kind if this one's recovery has shown that it is as new.
        """
        if setting.timing == "compressed":
            self._compression.attach()
        with engine.refusals():
            group = self._group(setting)
        lab = None
        try:
            lab = group.lab(setting)
            lab.answers, lab.dear = self._answers, True
            if setting.timing == "compressed":
                self._compress(lab)
            lab.open()
            yield lab
        finally:
            if lab is None or not (lab.recovered and self._keep(group)):
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
        config = self._config(api, setting.topology)
        kind = kind_of(setting)
        if (warm := self._warm(kind)) is not None:
            return warm
        with self._starting:  # one at a time: a processor that starts containers is none that measures
            return self._warm(kind) or self._new(api, setting, config)

    def _new(self, api: APIClient, setting: Setting, config: Mapping[str, Any]) -> Group:
        """New containers, in a slice of addresses that nobody else has taken meanwhile."""
        for tries_left in reversed(range(slices.TRIES)):
            share, label = self._slices.reserve(api), f"{self._run}-{uuid.uuid4().hex[:8]}"
            try:
                started = self._up(api, setting, config, share, self._labels | {runs.LAB: label})
                return Group(api, kind_of(setting), config, share, label, started, self._lines)
            except CommandFailed as error:
                ended = containers.ended(api, f"{runs.LAB}={label}")
                self._free(api, share, label)
                if not (tries_left and slices.refused(error)):
                    why = "; ".join(ended) or error.stderr
                    raise LabError(f"Compose could not start {setting.topology.file}: {why}") from error
            except BaseException:
                self._free(api, share, label)
                raise
        raise AssertionError("the last try returns or raises")

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
        self._slices.release(share)

    def _open(self) -> APIClient:
        """Connect, see that image and Compose are there, and have a reaper, once for the session."""
        with self._lock:
            if self._api is None:
                engine.compose()
                api = engine.api()
                try:
                    available.check_ours(api)
                    removal.remove_dead(api)
                except BaseException:
                    api.close()
                    raise
                reader, self._pipe = os.pipe()
                argv = [sys.executable, "-c", REAPER, str(ROOT), self._run, str(reader), str(os.getpid())]
                self._reaper = command.start(argv, pass_fds=[reader])
                os.close(reader)
                self._api = api
            return self._api

    def _config(self, api: APIClient, topology: Topology) -> Mapping[str, Any]:
        """The user's file as Compose reads it. ScenarioError with all that cannot be kept apart."""
        file = topology.file
        with self._lock:
            if file not in self._configs:
                try:
                    argv = [engine.compose(), "-f", file, "config", "--format", "json"]
                    text = command.output(argv, timeout=UP, env=engine.frugal())
                except CommandFailed as error:
                    raise ScenarioError([Problem(file, 0, 0, f"Compose refuses it: {error.stderr}")]) from error
                config = json.loads(text)
                problems = [Problem(file, 0, 0, text) for text in composed.refusals(config)]
                if problems:
                    raise ScenarioError(problems)
                available.stand_in(api, config, topology)
                self._configs[file] = config
            return self._configs[file]

    def _up(
        self, api: APIClient, setting: Setting, config: Mapping[str, Any], share: Slice, labels: Mapping[str, str]
    ) -> dict[str, str]:
        """Start the generated file; container ids by service."""
        project = f"connect-chaos-{labels[runs.LAB]}"
        data = composed.generate(config, setting, share, labels, project)
        available.check(api, (service["image"] for service in data["services"].values()), setting.topology.file)
        argv = [engine.compose(), "-p", project, "-f", "-", "--progress", "quiet", "up", "-d"]
        argv += ["--no-build", "--pull", "never", "--quiet-pull"]
        mortal = [sys.executable, "-I", "-S", "-c", MORTAL, str(os.getpid()), *argv]
        command.output(mortal, timeout=UP, stdin=json.dumps(data), env=engine.frugal())
        found = api.containers(filters={"label": f"{runs.LAB}={labels[runs.LAB]}"})
        return {it["Labels"][containers.SERVICE]: it["Id"] for it in found}


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
