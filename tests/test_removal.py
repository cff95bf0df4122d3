"""Removal from an engine that is busy: what it says of a network whose containers have not left it yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import requests
from docker.errors import APIError

from chaos.backends import removal
from chaos.errors import LabError

BUSY = "error while removing network: network lab id 3393 has active endpoints"


class Busy:
    """An engine with one network, which it refuses to remove so many times, with this status."""

    def __init__(self, refusals: int, status: int = 403, says: str = BUSY) -> None:
        self._refusals, self._status, self._says = refusals, status, says
        self.asked = 0

    def containers(self, **_: Any) -> list[Mapping[str, str]]:
        return []

    def networks(self, **_: Any) -> list[Mapping[str, str]]:
        return [{"Id": "3393"}]

    def volumes(self, **_: Any) -> Mapping[str, None]:
        return {"Volumes": None}

    def remove_network(self, name: str) -> None:
        assert name == "3393"
        self.asked += 1
        if self.asked <= self._refusals:
            response = requests.Response()
            response.status_code = self._status
            raise APIError("403 Client Error", response, self._says)


def remove(engine: Busy) -> int:
    return removal.remove(engine, "a-label")  # type: ignore[arg-type]


def test_a_network_goes_when_its_containers_have_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "SOON", 0.001)
    assert remove(engine := Busy(2)) == 1
    assert engine.asked == 3


def test_one_that_they_do_not_leave_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "SOON", 0.001)
    monkeypatch.setattr(removal, "LEAVING", 0.01)
    with pytest.raises(LabError, match=r"the engine does not remove 3393: .* has active endpoints"):
        remove(Busy(1000))


def test_what_else_the_engine_refuses_is_told_at_once() -> None:
    with pytest.raises(LabError, match="the engine does not remove 3393: not allowed"):
        remove(engine := Busy(1, says="not allowed"))
    assert engine.asked == 1
    assert remove(engine := Busy(1, status=409, says="in progress")) == 1, "another remover has it"
