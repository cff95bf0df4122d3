"""What root can do, an ordinary user can: the shipped scenarios and the trust tests, run again as nobody."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys

import pytest

from tests.shipped import ROOT, cases

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become nobody; the others are ordinary users already"
)


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m pytest ARGUMENTS` in this checkout as the user nobody, who may write nothing in it."""
    setpriv, nobody = shutil.which("setpriv"), pwd.getpwnam("nobody")
    assert setpriv, "util-linux has setpriv"
    who = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    argv = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--chaos-artifacts=never", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [*who, *argv], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow("every shipped scenario once more, with the kernel's timers")
def test_every_scenario_passes_and_only_compressed_time_is_skipped() -> None:
    done = as_nobody("-q", "-rs", "scenarios/")
    expected = [case for case in cases() if case.setting.timing != "compressed"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(expected)} passed, {len(cases()) - len(expected)} skipped" in done.stdout
    assert re.search(r"SKIPPED.*timing: compressed", done.stdout)
