"""One session of a backend for a whole process, started by the first lab that is asked for.

A backend is a file of chaos/backends/ with a class that is a context manager and can `start` labs: `netns`, `docker`,
or `auto`, which is the embedded one, and docker for a topology with an image that only a container can be.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import threading
from collections.abc import Hashable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

from chaos import backends
from chaos.errors import LabError, Problem, ScenarioError
from chaos.model import Setting
from chaos.suggest import did_you_mean

if TYPE_CHECKING:
    from chaos.backends.lab import AgentLab
    from chaos.scenario import Case

AUTO: Final = "auto"
EMBEDDED: Final = "netns"
IN_CONTAINERS: Final = "docker"
NO_NETWORK: Final = "fake"
"""Labs without a kernel are for tests and for plan.txt: nothing that they say is a verdict."""
NETNS_ONLY: Final = "netns_only"
"""The tag of a scenario that says of itself that containers cannot show it."""


@runtime_checkable
class Session(Protocol):
    """A backend that is running: where labs come from."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: Any) -> None: ...
    def start(self, setting: Setting) -> AbstractContextManager[AgentLab]:
        """A running lab for this setting."""


@runtime_checkable
class Sharing(Protocol):
    """A backend whose labs are dear, so that settings share them."""

    @staticmethod
    def sharing(setting: Setting) -> Hashable:
        """What is equal in settings that can have the same lab, one after another."""


def find(name: str) -> type[Session]:
    """The class of a backend. ScenarioError when there is none of this name."""
    every = (one.name for one in pkgutil.iter_modules(backends.__path__))
    modules = [module for module in every if module != NO_NETWORK and not module.startswith("_")]
    for found in _sessions(name) if name in modules else ():
        return found
    known = [module for module in modules if any(_sessions(module))]
    text = f"unknown backend `{name}`{did_you_mean(name, known)}; known: {', '.join([AUTO, *known])}"
    raise ScenarioError([Problem("backend", 0, 0, text)])


def _sessions(module: str) -> list[type[Session]]:
    there = importlib.import_module(f"{backends.__name__}.{module}")
    classes = [value for _, value in inspect.getmembers(there, inspect.isclass) if value.__module__ == there.__name__]
    return [one for one in classes if issubclass(one, Session) and one is not Session]


class Shared:
    """A backend whose session starts with the first lab and may be closed from another thread; for run.run."""

    def __init__(self, name: str) -> None:
        """Raises ScenarioError when there is none of this name. The shipped ones are imported when they are used."""
        self.name = EMBEDDED if name == AUTO else name
        if self.name not in (EMBEDDED, IN_CONTAINERS):
            find(name)
        self._products = Shared(IN_CONTAINERS) if name == AUTO else None
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._session: Session | None = None
        self._gone: LabError | None = None

    @cached_property
    def _class(self) -> type[Session]:
        return find(self.name)

    @property
    def labs(self) -> int | None:
        """Labs that may be alive at once: a backend whose labs are not cheap says how many; None: as many as go."""
        return getattr(self._class, "labs", None)

    def sharing(self, setting: Setting) -> Hashable:
        """What is equal in settings that can have the same lab, one after another; None: labs are always new."""
        if self._products is not None and needs_containers(setting):
            return self._products.sharing(setting)
        return self._class.sharing(setting) if issubclass(self._class, Sharing) else None

    def start(self, setting: Setting) -> AbstractContextManager[AgentLab]:
        """A running lab for this setting. Raises LabError when there can be none."""
        if self._products is not None and needs_containers(setting):
            return self._products.start(setting)
        return self._open().start(setting)

    def of(self, setting: Setting) -> str:
        """The name of the backend that starts this setting's labs."""
        return IN_CONTAINERS if self._products is not None and needs_containers(setting) else self.name

    def refuses(self, case: Case) -> str | None:
        """Why this backend does not run a case, by the scenario's own word; None: it does."""
        if NETNS_ONLY in case.tags and self.of(case.setting) == IN_CONTAINERS:
            return f"tag {NETNS_ONLY}: containers cannot show it (docs/docker.md)"
        return None

    def _open(self) -> Session:
        with self._lock:
            if self._gone is not None:
                raise self._gone
            if self._session is None:
                try:
                    self._session = self._stack.enter_context(self._class())
                except LabError as error:
                    self._gone = error
                    raise
            return self._session

    def close(self) -> None:
        """End the session, and with it every lab that is left; there are none afterwards."""
        with self._lock:
            self._gone = self._gone or LabError(f"the {self.name} session was closed")
            self._stack.close()
        if self._products is not None:
            self._products.close()


def needs_containers(setting: Setting) -> bool:
    """Whether a service is a product's image with nothing to run in its place."""
    return any(service.product and not service.command for service in setting.topology.services.values())
