"""What goes along a session's lines into containers: they end with it, and no module goes twice. Without an engine."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.backends.containers import Attached, Lines
from chaos.backends.modules import PLACE, Luggage
from chaos.errors import LabError


class Mute:
    """Attaches to containers that never say a word; keeps what is put into them."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.put: list[dict[str, bytes]] = []

    def attach_socket(self, _container: str, params: object) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.ends.append(theirs)
        return ours

    def put_archive(self, _container: str, _path: str, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self.put.append({one.name: (tar.extractfile(one) or io.BytesIO()).read() for one in tar})


@pytest.fixture
def engine() -> Iterator[Mute]:
    engine = Mute()
    yield engine
    for end in engine.ends:
        end.close()


def attached(engine: Mute, lines: Lines) -> Attached:
    api: Any = engine
    return Attached("server", api, "3393", lines)


def test_who_waits_for_an_answer_is_told_that_the_session_is_over(engine: Mute) -> None:
    lines = Lines()
    line = attached(engine, lines)
    threading.Timer(0.05, lines.end).start()
    started = time.monotonic()
    with pytest.raises(LabError, match="the agent in node 'server' died"):
        line.result(line.send("server", "clock", {}), timeout=20.0)
    assert time.monotonic() - started < 10.0
    line.close()


def test_a_line_to_an_agent_of_a_session_that_is_over_is_none(engine: Mute) -> None:
    lines = Lines()
    lines.end()
    line = attached(engine, lines)
    with pytest.raises(LabError, match="the agent in node 'server' died"):
        line.pump(20.0)
    line.close()


def test_a_line_that_was_closed_is_left_alone(engine: Mute) -> None:
    """Its descriptor may be another's by then."""
    lines = Lines()
    line = attached(engine, lines)
    line.close()
    one, other = socket.socketpair()
    with one, other:
        assert line.reader in (one.fileno(), other.fileno()), "the lowest number that is free"
        lines.end()
        one.sendall(b"still open")
        assert other.recv(100) == b"still open"


def test_a_module_goes_into_a_container_once_until_it_changes(engine: Mute, tmp_path: Path) -> None:
    api: Any = engine
    luggage = Luggage(api, "3393")
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"# {folder}")
    job, theirs = ({"function": "mine:dial", "path": [str(tmp_path / folder)]} for folder in ("one", "other"))
    assert luggage.take(job)["path"] == [f"/{PLACE}", *job["path"]]
    luggage.take(job)
    assert engine.put == [{f"{PLACE}/mine.py": b"# one"}]
    luggage.take(theirs)
    luggage.take(job)
    assert [*engine.put[1].values(), *engine.put[2].values()] == [b"# other", b"# one"], "of the same name"
    (tmp_path / "one" / "mine.py").write_text("# changed")
    os.utime(tmp_path / "one" / "mine.py", ns=(1, 1))
    luggage.take(job)
    assert [*engine.put[3].values()] == [b"# changed"]


def test_what_is_no_function_of_the_user_s_takes_nothing_along(engine: Mute) -> None:
    api: Any = engine
    assert Luggage(api, "3393").take({"path": ["/nowhere"]}) == {"path": ["/nowhere"]}
    assert engine.put == []
