"""`chaos_lab`: what an ordinary test may do in a broken network, and when it is told that nothing is known."""

from __future__ import annotations

import pytest

from chaos.errors import LabError, ScenarioError, ToolMissing
from chaos.fixture import Labs

pytestmark = pytest.mark.slow("starts labs")


def test_a_dropped_syn(chaos_lab: Labs) -> None:
    with chaos_lab("client-server", drop={"segment": "syn"}) as lab:
        outcome = lab.attempt(mode="timeout", timeout="200ms")
        assert (outcome.error, outcome.phase) == ("timeout", "connect")
        assert lab.packets() == lab.packets("server") == ["> syn"]
        assert lab.target == "server:8080"


def test_several_attempts_by_several_clients(chaos_lab: Labs) -> None:
    with chaos_lab(closed_port={}) as lab:
        assert lab.attempt().error == "ECONNREFUSED"
        assert lab.packets() == ["> syn", "< rst"]
        assert lab.attempt("requests").type == "requests.exceptions.ConnectionError"
        outcome = lab.attempt(command=["bash", "-c", "exec 3<>/dev/tcp/{host}/{port}"])
        assert (outcome.error, outcome.exit) == ("ECONNREFUSED", 1)


def test_the_settings_of_a_scenario(chaos_lab: Labs) -> None:
    with chaos_lab(client="requests", family="ipv6", link={"rtt": "20ms"}, closed_port={}) as lab:
        assert lab.lab.setting.listen.speaks == "http"
        assert lab.attempt().type == "requests.exceptions.ConnectionError"
        assert lab.evidence.outcome.elapsed is not None
        assert lab.evidence.outcome.elapsed >= 0.02


def test_a_healthy_network(chaos_lab: Labs) -> None:
    with chaos_lab() as lab:
        assert lab.attempt().error == "ok"


def test_a_fault_that_touches_nothing_is_no_proof(chaos_lab: Labs) -> None:
    with pytest.raises(LabError, match=r"drop at server: 0 hits"), chaos_lab(drop={"segment": "syn", "port": 9}) as lab:
        assert lab.attempt().error == "ok"


def test_a_block_without_an_attempt_is_no_proof(chaos_lab: Labs) -> None:
    with pytest.raises(LabError, match="no attempt was made"), chaos_lab(closed_port={}):
        pass


def test_the_error_of_the_block_is_not_covered(chaos_lab: Labs) -> None:
    with pytest.raises(ZeroDivisionError), chaos_lab(closed_port={}):
        _ = 1 // 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dropp": {}}, r"chaos_lab: unknown fault `dropp` \(did you mean 'drop'\?\)"),
        ({"drop": {"segment": "sin"}}, r"chaos_lab: drop\.segment.*did you mean 'syn'"),
        ({"drop": {"segment": "syn", "at": "srver"}}, r"no node `srver`"),
        ({"family": "ipv5"}, r"family: expected 'ipv4', 'ipv6' or 'local'"),
        ({"client": "sockets"}, r"unknown client `sockets`"),
    ],
)
def test_wrong_arguments_are_told_as_in_a_scenario(chaos_lab: Labs, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ScenarioError, match=message), chaos_lab(**keys):  # type: ignore[arg-type]
        pass


def test_an_unknown_topology(chaos_lab: Labs) -> None:
    with pytest.raises(ScenarioError, match="unknown topology `client-sever`"), chaos_lab("client-sever"):
        pass


def test_a_missing_tool_is_a_skip_and_strictly_an_error(chaos_lab: Labs) -> None:
    def run(strict: bool) -> None:
        with Labs(chaos_lab.backend, strict)(closed_port={}) as lab:
            lab.attempt(command=["no-such-program"])

    with pytest.raises(pytest.skip.Exception, match="no-such-program: not found; install it with"):
        run(strict=False)
    with pytest.raises(ToolMissing, match="no-such-program"):
        run(strict=True)
