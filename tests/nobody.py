"""An ordinary user: `nobody`, where root runs the tests, and whoever runs them else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tests.source import ROOT

PYTHON = [sys.executable, "-B"]
"""Nobody may write nothing in this checkout."""
PATIENCE = 240.0


def as_nobody(argv: Sequence[str], stdin: str = "", patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """What a program prints that runs in this checkout as an ordinary user, where a missing tool is a skip."""
    who: list[str] = []
    if os.geteuid() == 0:
        setpriv, nobody = shutil.which("setpriv"), pwd.getpwnam("nobody")
        assert setpriv, "util-linux has setpriv"
        who = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [*who, *argv],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
