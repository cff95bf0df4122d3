"""One thing tried, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.errors import LabError, ToolMissing


@dataclass(frozen=True)
class Probe:
    """One thing tried. `ok` is None where it does not apply; `needed`: the netns backend does not work without."""

    name: str
    ok: bool | None
    detail: str
    mend: str = ""
    needed: bool = False


def tried(name: str, work: Callable[[], str], mend: str, *, needed: bool = False) -> Probe:
    """The probe of something that returns what it found, or raises LabError or OSError."""
    try:
        return Probe(name, True, work(), needed=needed)
    except ToolMissing as error:
        return Probe(name, False, str(error).partition("; ")[0], error.install, needed)
    except (LabError, OSError) as error:
        return Probe(name, False, " ".join(str(error).split()), mend, needed)
