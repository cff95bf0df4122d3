"""The docker backend: every service is a container of its own image, behind our router, on one internal network.

`Docker` is a session. A lab is one generated Compose file (composed.py) started by Compose; its agents are attached
(containers.py) and everything above them is the code of the netns backend. Addresses, in the lab's slice of 198.18.0.0/15:

    .2 router    .10, .11, ... services    .254 belongs to nobody    2001:db8:SLICE::/64 likewise

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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from chaos import command
from chaos.backends import composed, engine, image, removal, runs
from chaos.backends.channel import AgentNode, everywhere, until
from chaos.backends.composed import Slice
from chaos.backends.containers import Attached, ImageNode, ProductNode
from chaos.backends.lab import AgentLab
from chaos.backends.netns import COMMON, FORWARDING, LINK_LOCAL, TIMING
from chaos.errors import CommandFailed, LabError, Problem, ScenarioError, ToolMissing
from chaos.model import ROUTER, Family, Setting

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
LISTENS: Final = 30.0
ETH0: Final = [
    (f"net/{version}/conf/eth0/{name}", value)
    for version, name, value in (
        ("ipv4", "rp_filter", "0"),
        ("ipv4", "send_redirects", "0"),
        ("ipv4", "accept_redirects", "0"),
        ("ipv6", "disable_ipv6", "0"),
        ("ipv6", "accept_dad", "0"),
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "addr_gen_mode", "1"),
        ("ipv6", "keep_addr_on_down", "1"),
    )
]
"""The device is there before we are, so that conf/default comes too late for it."""


class Docker:
    """A session of the docker backend: a context manager; `start` may be called from any thread."""

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex[:12]
        self._labels = runs.labels(self._run)
        self._lock = threading.Lock()
        self._api: APIClient | None = None
        self._folder = Path()
        self._reaper: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._taken: set[int] = set()
        self._configs: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> Docker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove what is left of the run, and let the reaper go."""
        with self._lock:
            api, self._api = self._api, None
            if api is None:
                return
            try:
                removal.remove(api, f"{runs.RUN}={self._run}")
                os.write(self._pipe, b"+")
            finally:
                os.close(self._pipe)
                shutil.rmtree(self._folder, ignore_errors=True)
                if self._reaper is not None:
                    self._reaper.wait()

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        """A running lab for this setting: every agent answers, the wire relays, a listener accepts."""
        api = self._open()
        config = self._config(setting.topology.file)
        with ExitStack() as stack:
            share = self._reserve(api)
            stack.callback(self._taken.discard, share.number)
            labels = self._labels | {runs.LAB: f"{self._run}-{uuid.uuid4().hex[:8]}"}
            stack.callback(removal.remove, api, f"{runs.LAB}={labels[runs.LAB]}")
            containers = self._up(api, setting, config, share, labels)
            lab = _assemble(api, setting, config, share, containers, stack)
            lab.open()
            yield lab

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
        labels = api.inspect_image(image.tag())["Config"]["Labels"] or {}
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
            api.inspect_image(name)
        except ImageNotFound:
            missing.append(name)
    if missing:
        file = setting.topology.file
        mend = f"`docker compose -f {file} pull` or `docker compose -f {file} build`"
        raise LabError(f"the engine does not have the image {', '.join(missing)}: {mend}")


def _assemble(
    api: APIClient,
    setting: Setting,
    config: Mapping[str, Any],
    share: Slice,
    containers: Mapping[str, str],
    stack: ExitStack,
) -> AgentLab:
    """Attach the agents, make nodes of their containers, and put the lab together."""
    places = addresses(config, share, setting.family)
    nodes: dict[str, AgentNode] = {}
    products = set()
    for name in (*places, *([ROUTER] if setting.path == "routed" else [])):
        carrier = name if name == ROUTER or composed.carries_agent(config["services"][name]) else name + composed.SIDECAR
        if carrier not in containers or name not in (*containers, ROUTER):
            raise LabError(f"service `{name}` is not running: its container has ended")
        channel = Attached(name, api, containers[carrier])
        stack.callback(channel.close)
        address = places.get(name) or share.address(composed.ROUTER_HOST, setting.family)
        if carrier == name:
            nodes[name] = ImageNode(name, address, "wire0" if name == ROUTER else "eth0", channel)
        else:
            nodes[name] = ProductNode(name, address, channel, api, containers[name])
            products.add(name)
    _join(setting, config, share, nodes)
    router = {name: ("eth0", share.address(composed.ROUTER_HOST, setting.family)) for name in places}
    nowhere = share.address(composed.NOWHERE, setting.family)
    lab = AgentLab(setting, nodes, nowhere, router, lambda to: _hosts(setting.family, places, to))
    everywhere(nodes, "names", hosts=_hosts(setting.family, places, {}))
    return lab


def addresses(config: Mapping[str, Any], share: Slice, family: Family) -> dict[str, str]:
    """The services' addresses, as composed.generate assigns them."""
    return {name: share.address(composed.FIRST_HOST + index, family) for index, name in enumerate(config["services"])}


def _join(setting: Setting, config: Mapping[str, Any], share: Slice, nodes: Mapping[str, AgentNode]) -> None:
    """Host addresses, host routes, sysctls and the wire, in all nodes at once."""
    sent = {}
    for name, node in nodes.items():
        at_router = name == ROUTER
        forwards = FORWARDING if at_router else [("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "0")]
        sysctls = forwards + COMMON + ETH0 + ([] if at_router else TIMING[setting.timing])
        own: list[tuple[str, int]] = [(LINK_LOCAL, 64)] if at_router else []
        routes: list[tuple[str, str | None]] = []
        for family in ("ipv4", "ipv6"):
            host, more = _links(setting, config, share, name, family)
            own.append((host, 32 if family == "ipv4" else 128))
            routes += more
        arguments = {"sysctls": sysctls, "addresses": own, "routes": routes, "wire": at_router}
        sent[name] = node.channel.send("join", arguments)
    for name, number in sent.items():
        nodes[name].channel.result(number)


def _links(
    setting: Setting, config: Mapping[str, Any], share: Slice, name: str, family: Family
) -> tuple[str, list[tuple[str, str | None]]]:
    """A node's address in one family, and its host routes: to the router, and through it to all else."""
    places, router = addresses(config, share, family), share.address(composed.ROUTER_HOST, family)
    if name == ROUTER:
        return router, [(address, None) for address in places.values()]
    via = router if setting.path == "routed" else None
    goals = [address for other, address in places.items() if other != name]
    goals.append(share.address(composed.NOWHERE, family))
    first: list[tuple[str, str | None]] = [(router, None)] if via else []
    return places[name], first + [(goal, via) for goal in goals]


def _hosts(family: Family, places: Mapping[str, str], overrides: Mapping[str, str]) -> str:
    """An /etc/hosts in which every node's name has one address, of the lab's family."""
    loopback = "127.0.0.1" if family == "ipv4" else "::1"
    lines = [f"{loopback} localhost", *(f"{overrides.get(name, address)} {name}" for name, address in places.items())]
    return "\n".join(lines) + "\n"


def clean() -> list[str]:
    """Remove what runs whose owner is dead have left in the engine; their ids. ToolMissing without an engine."""
    return removal.remove_dead(engine.api())
