"""Operation `clock`: what time it is where the packets get their timestamps."""

from __future__ import annotations

import time

from chaos.agent.serve import Agent


def run(agent: Agent) -> int:
    """Nanoseconds of CLOCK_REALTIME."""
    return time.time_ns()
