"""Operation `command`: run one short program in the node, as a person would, and return what it printed."""

from __future__ import annotations

import subprocess

from chaos.agent.serve import FAILED, MISSING, Agent, OperationFailed

TIMEOUT = 20.0


def run(agent: Agent, *, argv: list[str], stdin: str = "") -> str:
    """stdout of the program; fails as {"kind": "missing", "tool"} or {"kind": "failed", "argv", "status", "stderr"}."""
    try:
        done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        raise OperationFailed(kind=MISSING, tool=argv[0]) from None
    except subprocess.TimeoutExpired:
        text = f"still running after {TIMEOUT:g} s, killed"
        raise OperationFailed(kind=FAILED, argv=argv, status=-9, stderr=text) from None
    if done.returncode:
        stderr = done.stderr.decode(errors="replace")
        raise OperationFailed(kind=FAILED, argv=argv, status=done.returncode, stderr=stderr)
    return done.stdout.decode(errors="replace")
