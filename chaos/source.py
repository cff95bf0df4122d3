"""A text file of the user's, read with care, and the problems found in it.

A file over its limit is refused unread. Problems are collected, so that one look at a file reports all of them.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

from chaos.errors import Problem, ScenarioError

Place = tuple[int, int]
"""Line and column, both counted from 1."""

# What YAML forbids in a file (YAML 1.2, section 5.1), and what would play tricks on a terminal.
FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_SHOWN = 160
_PROBLEMS = 100


class Source:
    """One file: `text`, what is wrong with it and what is doubtful. `file` is the path as messages show it."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.lines = text.splitlines()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def complain(self, place: Place, message: str) -> None:
        """Note a problem; the same one (met again in another case of the file) counts once.

        A hundred are enough: raises ScenarioError.
        """
        problem = self.problem(place, message)
        if problem not in self.problems:
            self.problems.append(problem)
        if len(self.problems) >= _PROBLEMS:
            self.stop()

    def warn(self, place: Place, message: str) -> None:
        """Note a doubt, once: the file can be run, and may not do what is meant."""
        doubt = replace(self.problem(place, message), severity="warning")
        if doubt not in self.warnings and len(self.warnings) < _PROBLEMS:
            self.warnings.append(doubt)

    def problem(self, place: Place, message: str) -> Problem:
        """A problem at this place, with its line of the file for the caret."""
        line, column = place
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        text = FORBIDDEN.sub("?", text).replace("\t", " ")
        return Problem(self.file, line, column, message, text[:_SHOWN].rstrip() if column <= _SHOWN else "")

    def stop(self) -> None:
        """Raise ScenarioError with every problem noted, if there is one."""
        if self.problems:
            raise ScenarioError(self.problems)


def read(path: Path, limit: int) -> Source:
    """The file's text. ScenarioError when it is missing, no file, larger than `limit` bytes, or no UTF-8."""
    file = shown(path)
    try:
        data = _bytes(path, file, limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise _refused(file, reason[0].lower() + reason[1:]) from None
    return _decoded(file, data)


def _bytes(path: Path, file: str, limit: int) -> bytes:
    """The whole file, by system calls: many are read, and open() makes twice as many."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO is not waited for
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refused(file, "not a file")
        if status.st_size > limit:
            raise _refused(file, f"{status.st_size} bytes: a file has at most {limit // 1024} KiB")
        return b"".join(iter(lambda: os.read(descriptor, limit), b""))
    finally:
        os.close(descriptor)


def shown(path: Path) -> str:
    """The path relative to the current directory when it is below it, else as it is."""
    absolute, here = os.path.abspath(path), os.getcwd()  # noqa: PTH100, PTH109 (pathlib is five times slower)
    return absolute[len(here) + 1 :] if absolute.startswith(here.rstrip("/") + "/") else absolute


def _decoded(file: str, data: bytes) -> Source:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        source = Source(file, data.decode("utf-8-sig", "replace"))
        source.complain(_place(before), "not UTF-8 text")
        raise ScenarioError(source.problems) from None
    if wrong := FORBIDDEN.search(text):
        source = Source(file, text)
        source.complain(_place(text[: wrong.start()]), f"the character U+{ord(wrong[0]):04X} may not stand in a file")
        raise ScenarioError(source.problems)
    return Source(file, text)


def _place(before: str) -> Place:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _refused(file: str, message: str) -> ScenarioError:
    return ScenarioError([Problem(file, 0, 0, message)])
