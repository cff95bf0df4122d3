"""What a run leaves for people and programs: a folder for each case, when it is wanted.

verdict.json     what `run --json` prints for this case
packets.pcapng   every frame of every leg, a capture a node; opens in Wireshark
client.out, client.err
plan.txt         the commands with which to do it by hand
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from chaos import pcapng, report
from chaos.check import invalid, merge
from chaos.run import Result
from chaos.source import shown

Keep = Literal["retain-on-failure", "always", "never"]
FOLDER: Final = "chaos-artifacts"
NAMES: Final = ("verdict.json", "packets.pcapng", "client.out", "client.err", "plan.txt")
_LONGEST: Final = 150


def slug(node_id: str) -> str:
    """A folder's name for a case: `refused--closed-port--requests-ipv6` for a file of scenarios/."""
    file, _, case = node_id.rpartition("::")
    parts = [*Path(file.removesuffix(".chaos.yaml").removeprefix("scenarios/")).parts, case]
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", "--".join(part for part in parts if part != "/"))
    if plain == "--".join(parts) and not any("--" in part for part in parts) and len(plain) <= _LONGEST:
        return plain
    return f"{plain[-_LONGEST:]}-{hashlib.sha256(node_id.encode()).hexdigest()[:8]}"


def as_json(result: Result, backend: str, folder: Path | None = None) -> report.CaseJson:
    """The object of a case; `folder` has its artefacts."""
    return report.as_json(
        file=shown(result.case.file),
        case=result.case.name,
        verdict=result.verdict,
        evidence=result.evidence,
        faults=result.faults,
        timing=result.timing,
        backend=backend,
        artifacts=shown(folder) if folder else None,
    )


def keep(result: Result, backend: str, base: Path, policy: Keep) -> tuple[Result, Path | None]:
    """Write what the policy wants of a case below `base`; what an earlier run left of it is removed.

    What cannot be written makes the verdict INVALID, with the file and the reason.
    """
    folder = base / slug(result.case.node_id)
    try:
        if policy == "never":
            return result, None
        if policy == "retain-on-failure" and result.verdict.kind == "PASS":
            _remove(folder)
            return result, None
        folder.mkdir(parents=True, exist_ok=True)
        _write(result, backend, folder)
    except OSError as error:
        where = shown(Path(error.filename or folder))
        unwritten = invalid(f"artefacts: {where} cannot be written: {error.strerror}")
        return replace(result, verdict=merge([result.verdict, unwritten])), None
    return result, folder


def _write(result: Result, backend: str, folder: Path) -> None:
    outcome = result.evidence.outcome if result.evidence else None
    files = {
        "packets.pcapng": pcapng.dumps(result.frames),
        "client.out": (outcome.stdout if outcome else "").encode(errors="replace"),
        "client.err": (outcome.stderr if outcome else "").encode(errors="replace"),
        "plan.txt": _plan(result, backend).encode(),
        "verdict.json": (json.dumps(as_json(result, backend, folder), indent=2) + "\n").encode(),
    }
    for name, content in files.items():
        try:
            (folder / name).write_bytes(content)
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, os.strerror(error.errno or 0), str(folder / name)) from error


def _plan(result: Result, backend: str) -> str:
    from chaos.plan import plan
    from chaos.shared import IN_CONTAINERS

    return plan(result.case, docker=backend == IN_CONTAINERS)


def _remove(folder: Path) -> None:
    """Remove what `_write` made, if it is there and ours; a folder with something else in it stays."""
    with suppress(FileNotFoundError, PermissionError):
        for name in NAMES:
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
