"""Which kinds of fault and of client there are: one for each file of chaos/faults/ and chaos/clients/.

`closed_port.py` is the YAML key `closed-port`; its class is the one dataclass in it that can `inject` (a fault) or
`attempt` (a client). A file is imported when its kind is asked for. Files that begin with `_` are shared helpers.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from chaos import typed
from chaos.errors import Problem, ScenarioError
from chaos.fields import NODE_NAME
from chaos.model import Client, Fault
from chaos.suggest import did_you_mean


class Kinds(Mapping[str, type]):
    """The classes of a package by kind, imported on first use."""

    def __init__(self, package: str, method: str) -> None:
        found = importlib.import_module(package)
        names = sorted(module.name for module in pkgutil.iter_modules(found.__path__))
        self._modules = {name.replace("_", "-"): f"{package}.{name}" for name in names if not name.startswith("_")}
        self._classes: dict[str, type] = {}
        self._method = method

    def __getitem__(self, kind: str) -> type:
        if kind not in self._classes:
            self._classes[kind] = _class_of(self._modules[kind], self._method)
        return self._classes[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


@cache
def faults(package: str = "chaos.faults") -> Mapping[str, type]:
    """Fault classes by YAML key; another package can be scanned instead."""
    return Kinds(package, "inject")


@cache
def clients(package: str = "chaos.clients") -> Mapping[str, type]:
    """Client classes by adapter name; another package can be scanned instead."""
    return Kinds(package, "attempt")


def help_of(cls: type) -> str:
    """The first line of the class's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def unknown(what: str, kind: str, known: Mapping[str, type]) -> str:
    """The message for a kind that does not exist."""
    return f"unknown {what} `{kind}`" + (did_you_mean(kind, known) or f"; known: {', '.join(known)}")


def stray_nodes(cls: type, parameters: Mapping[str, Any], known: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(YAML key, message) for each parameter of a fault or client, given or default, that names an unknown node.

    `parameters` are plain values, whether or not the class takes them: what is no name at all is typed.read's to say.
    """
    for key, default in typed.node_keys(cls).items():
        value = parameters.get(key, default)
        for name in value if isinstance(value, list | tuple) else (value,):
            if isinstance(name, str) and re.match(NODE_NAME, name) and name not in known:
                yield key, no_node(name, known)


def no_node(name: str, known: Sequence[str]) -> str:
    """The message for a node that the topology does not have."""
    return f"no node `{name}` in the topology" + (did_you_mean(name, known) or f"; it has: {', '.join(known)}")


def fault(kind: str, parameters: Mapping[str, Any], where: str = "fault") -> Fault:
    """A fault from plain values, for the command line and the fixture. ScenarioError names `where`."""
    return _made("fault", faults(), kind, parameters, where)  # type: ignore[no-any-return]


def client(adapter: str, parameters: Mapping[str, Any], where: str = "client") -> Client:
    """A client from plain values, for the command line and the fixture. ScenarioError names `where`."""
    return _made("client", clients(), adapter, parameters, where)  # type: ignore[no-any-return]


def _made(what: str, known: Mapping[str, type], kind: str, parameters: Mapping[str, Any], where: str) -> Any:
    if kind not in known:
        raise ScenarioError([Problem(where, 0, 0, unknown(what, kind, known))])
    problems: list[Problem] = []

    def complain(path: typed.Path, message: str, _key: bool) -> None:
        problems.append(Problem(where, 0, 0, ".".join(map(str, (kind, *path))) + f": {message}"))

    made = typed.read(known[kind], dict(parameters), complain)
    if made is None:
        raise ScenarioError(problems)
    return made


def _class_of(module: str, method: str) -> type:
    found = [
        value
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type) and value.__module__ == module and dataclasses.is_dataclass(value)
        if callable(getattr(value, method, None))
    ]
    if len(found) != 1:
        raise TypeError(f"{module}: expected one dataclass with `{method}`, found {len(found)}")
    return found[0]
