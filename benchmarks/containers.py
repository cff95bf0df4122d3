"""The docker backend: a lab ready against a plain `docker compose up` of its file, and a scenario on a warm lab."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import SCENARIOS, Row, median_ms, percentile
from chaos import command
from chaos.backends import composed, engine, removal, runs
from chaos.backends.composed import Slice
from chaos.backends.docker import Docker
from chaos.errors import LabError
from chaos.model import Setting
from chaos.run import run
from chaos.scenario import load

LABS, RUNS = 5, 50
MINE = "connect-chaos.benchmark"


def rows() -> Iterator[Row]:
    """Nothing where no engine answers."""
    try:
        engine.api().close()
    except LabError:
        return
    case = next(case for case in load(SCENARIOS / "refused/closed-port.chaos.yaml").cases if case.adapter == "socket")
    with Docker() as session:
        ready, plain = [], []
        with session.start(case.setting):
            pass  # what the first one loads and asks is no lab's
        for number in range(LABS):
            started = time.monotonic()
            with session.start(case.setting):
                ready.append(time.monotonic() - started)
            plain.append(_plain(case.setting, Slice(400 + number)))
        walls = []
        for _ in range(RUNS):
            started = time.monotonic()
            result = run(case, session)
            walls.append(time.monotonic() - started)
            assert result.verdict.kind == "PASS", result.verdict.reasons
    ratio = statistics.median(ready) / statistics.median(plain)
    yield Row("docker: lab ready", median_ms(ready), "ms", None, f"{LABS} times")
    yield Row("docker: plain compose up of its file", median_ms(plain), "ms", None, "in turn with the labs")
    yield Row("docker: lab ready / compose up", ratio, "", 1.2)
    yield Row("docker: refused on a warm lab, median", median_ms(walls[1:]), "ms", 250, f"{RUNS} runs, three legs each")
    yield Row("docker: refused on a warm lab, p95", percentile(walls[1:], 0.95) * 1000, "ms")


def _plain(setting: Setting, share: Slice) -> float:
    """Seconds of `docker compose up -d` of the same generated file, by the same Compose."""
    api, compose = engine.api(), engine.compose()
    labels = runs.labels("benchmark") | {MINE: "plain"}
    config = json.loads(command.output([compose, "-f", setting.topology.file, "config", "--format", "json"]))
    with TemporaryDirectory() as folder:
        file = Path(folder, "compose.json")
        file.write_text(json.dumps(composed.generate(config, setting, share, labels, "connect-chaos-benchmark")))
        started = time.monotonic()
        command.output([compose, "-f", str(file), "--progress", "quiet", "up", "-d"], timeout=120)
        took = time.monotonic() - started
    removal.remove(api, MINE)
    api.close()
    return took
