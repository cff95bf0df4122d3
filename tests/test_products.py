"""`x-chaos.netns.command`: the netns backend runs the program that stands in for an image, and plays nothing itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.backends.netns import Netns
from chaos.errors import ScenarioError
from chaos.plan import plan
from chaos.run import Result, run
from chaos.scenario import Case, load

SHOP = """
services:
  app: {{image: connect-chaos/node}}
  web: {{image: "shop/web:1", x-chaos: {{listen: 8000, netns: {{command: {command}}}}}}}
"""
SERVES = '[python3, -m, http.server, "8000"]'
VISIT = """# The shop is visited
topology: ./compose.yaml
faults: [{fault}]
client: {{node: app, command: [python3, -c, "import urllib.request as it; print(it.urlopen('{{url}}').read())"]}}
expect: {expect}
"""


def visit(folder: Path, command: str = SERVES, fault: str = "", expect: str = "{error: ok}") -> Case:
    (folder / "compose.yaml").write_text(SHOP.format(command=command))
    (folder / "visit.chaos.yaml").write_text(VISIT.format(fault=fault, expect=expect))
    return load(folder / "visit.chaos.yaml").cases[0]


def ran(case: Case) -> Result:
    with Netns() as session:
        return run(case, session)


@pytest.mark.slow("starts a server of Python's, which takes a second on a busy machine")
@pytest.mark.parametrize(
    ("fault", "expect"),
    [
        ("", "{error: ok, wire: ['> syn', '< syn-ack', '...']}"),
        ("{closed-port: {at: web}}", "{error: ECONNREFUSED, phase: connect, wire: ['> syn', '< rst']}"),
        ("{reset: {at: router, segment: syn}}", "{error: ECONNREFUSED, phase: connect}"),
    ],
)
def test_it_is_the_server(fault: str, expect: str, tmp_path: Path) -> None:
    result = ran(visit(tmp_path, fault=fault, expect=expect))
    assert (result.verdict.kind, result.verdict.reasons) == ("PASS", ())
    assert result.evidence is not None
    assert ("Directory listing" in result.evidence.outcome.stdout) == (not fault)


@pytest.mark.parametrize("command", ["[sh, -c, 'echo no data; exit 3']", "['false']"])
def test_one_that_ends_is_told_and_nobody_answers_for_it(command: str, tmp_path: Path) -> None:
    result = ran(visit(tmp_path, command))
    assert result.verdict.kind == "INVALID"
    assert "ended with status" in str(result.verdict.reasons)


def test_the_faults_of_our_own_listener_are_refused_for_it(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="never-accept needs our listener, and 'web' runs a program of its own"):
        visit(tmp_path, fault="{never-accept: {at: web, backlog: 1}}")


def test_its_plan_runs_it(tmp_path: Path) -> None:
    text = plan(visit(tmp_path))
    assert "ip netns exec chaos-web python3 -m http.server 8000 > /dev/null" in text
    assert "listener = " not in text
