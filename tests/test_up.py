"""`connect-chaos up`, `shell` and `down`: a lab that stays, programs and terminals in its nodes, and its end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from chaos import control
from chaos.cli import main
from chaos.errors import LabError
from tests import leftovers
from tests.playing import CHAOS, PATIENCE, on_a_terminal, runtime, shell, up

__all__ = ["runtime"]
pytestmark = pytest.mark.usefixtures("runtime")

# -- one lab, its programs, its end


@pytest.mark.slow("runs a lab and six interpreters")
def test_a_lab_stays_serves_programs_and_ends_with_down(runtime: Path) -> None:
    with up("dual-stack", "--fault", "drop:segment=syn", "--family", "ipv6") as running:
        assert running.told["nodes"]["server"] == "2001:db8:0:2::2"
        assert running.told["faults"] == [{"kind": "drop", "at": "server"}]
        assert running.told["listens"] == {"server": ["8080 (http)"]}
        script = 'read line; echo "$line $1 $(hostname) $(getent hosts server)" "<$http_proxy>"; exit 7'
        os.environ["http_proxy"] = "http://example.invalid"
        try:
            done = shell("client", "--", "sh", "-c", script, "sh", "--", stdin="typed\n")
        finally:
            del os.environ["http_proxy"]
        assert done.returncode == 7, done.stderr
        assert done.stdout.split() == ["typed", "--", "client", "2001:db8:0:2::2", "server", "<>"]
        assert main(["up"]) == 3
        assert main(["shell", "clinet", "--", "true"]) == 2
        assert main(["shell", "client", "--", "chaos-has-no-such-program"]) == 3
        assert main(["down"]) == 0
        assert running.process.wait(PATIENCE) == 0
    assert list(runtime.iterdir()) == []


@pytest.mark.slow("runs a lab, and waits for a client's time-out")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl: not found; apt-get install curl")
def test_the_fault_acts_on_what_runs_in_the_lab() -> None:
    with up("--fault", "drop:segment=syn"):
        assert shell("client", "--", "curl", "-sS", "-m", "0.3", "http://server:8080/").returncode == 28
        assert (
            shell("server", "--", "curl", "-sS", "-m", "0.3", "http://server:8080/here").returncode == 28
        )  # at the server itself
    done = shell("client", "--rtt", "1ms", "--", "curl", "-sS", "http://server:8080/here")
    assert (done.returncode, done.stdout) == (0, "/here")


@pytest.mark.slow("runs a lab and three interpreters")
def test_a_shell_has_a_real_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.setenv("PS1", "ready$ ")
    monkeypatch.setenv("ENV", "")
    with up():
        status, seen = on_a_terminal("shell", "client", typed=b"tty; hostname; echo job $(ps -o tty= $$); exit 5\n")
    assert status == 5
    assert "/dev/pts/" in seen
    assert "client\r\n" in seen
    assert "job control turned off" not in seen


@pytest.mark.slow("runs a lab")
def test_ctrl_c_in_a_throwaway_lab_reaches_the_program_and_not_us() -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    status, seen = on_a_terminal(
        "shell", "client", "--topology", "client-server", "--", "sh", "-c", script, typed=b"\3"
    )
    assert (status, "caught\r\n" in seen) == (9, True), seen


@pytest.mark.slow("runs a lab")
def test_nothing_of_a_program_outlives_its_user(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with up():
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        argv = [*CHAOS, "shell", "client", "--", "sh", "-c", f"exec 9>{pipe}; setsid sleep 1000 & echo x >&9; wait"]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as user:
            while not os.read(reader, 1):
                pass  # nobody writes yet
            user.kill()
        while os.read(reader, 1):
            pass  # until nobody has it open
        os.close(reader)
        assert shell("client", "--", "true").returncode == 0


@pytest.mark.slow("runs a lab")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_its_programs(number: signal.Signals, status: int, runtime: Path) -> None:
    with up() as running:
        argv = [*CHAOS, "shell", "server", "--", "sh", "-c", "echo ready; sleep 1000"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as user:
            assert user.stdout is not None
            user.stdout.readline()
            running.process.send_signal(number)
            assert running.process.wait(PATIENCE) == status
            assert "the lab ended, and with it what ran in it" in user.communicate(timeout=PATIENCE)[1]
            assert user.returncode == 3
    assert list(runtime.iterdir()) == []


@pytest.mark.slow("runs two labs")
def test_sigkill_leaves_nothing_but_a_socket_that_the_next_removes(runtime: Path) -> None:
    with up(env={leftovers.MARK: "up-killed"}) as running:
        before = leftovers.marked("up-killed")
        assert len(before.processes) > 3
        running.process.kill()
        running.process.wait(PATIENCE)
        assert leftovers.gone_after("up-killed", before, 5.0)[1] == []
    assert (runtime / "connect-chaos" / "up.sock").exists()
    with up() as second:
        assert shell("client", "--", "true").returncode == 0
        second.process.kill()
        second.process.wait(PATIENCE)
    assert main(["shell", "client"]) == 3
    assert list(runtime.iterdir()) == []


# -- without a lab


@pytest.mark.parametrize("argv", [["down"], ["shell", "client"], ["shell", "client", "--", "true"]])
def test_without_a_lab_the_mend_is_said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 3
    assert capsys.readouterr().err == "connect-chaos: no lab is running: start one with `connect-chaos up`\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["up", "client-servr"], "unknown topology `client-servr` (did you mean 'client-server'?)"),
        (["up", "--fault", "drop:segment=sny"], "--fault drop:segment=sny: drop.segment: "),
        (["up", "--node", "clinet"], "no node `clinet`"),
        (["up", "--backend", "netsn"], "unknown backend `netsn` (did you mean 'netns'?)"),
        (["shell", "client", "--topology", "nowhere", "--", "true"], "unknown topology `nowhere`"),
    ],
)
def test_bad_input_is_exit_status_2(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert text in capsys.readouterr().err


def test_a_folder_that_others_may_enter_is_refused(runtime: Path) -> None:
    (runtime / "connect-chaos").mkdir()
    (runtime / "connect-chaos").chmod(0o755)
    with pytest.raises(LabError, match="must be a folder of your own with mode 0700"):
        control.connect()
    with pytest.raises(LabError, match="0700"), control.listening():
        pass


def test_somebody_elses_runtime_folder_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert control.folder() == Path("/tmp/connect-chaos-12345")


def test_one_lab_at_a_time_and_the_socket_goes_with_it(runtime: Path) -> None:
    with control.listening() as listening, control.connect() as ours:
        with (
            pytest.raises(LabError, match="a lab is up already: end it with `connect-chaos down`"),
            control.listening(),
        ):
            pass
        theirs, _ = listening.accept()
        with theirs, socket.socket() as other:
            control.say(ours, {"do": "down"}, [other.fileno()])
            message, fds = control.heard(theirs)
            assert (message, len(fds)) == ({"do": "down"}, 1)
            os.close(fds[0])
    assert list(runtime.iterdir()) == []


@pytest.mark.slow("runs a lab as another user")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody; the others are ordinary users already")
def test_an_ordinary_user_plays_too(runtime: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(runtime, nobody.pw_uid, nobody.pw_gid)
    who = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    with subprocess.Popen([*who, *CHAOS, "up", "--json"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        argv = [*who, *CHAOS, "shell", "client", "--", "hostname"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (done.returncode, done.stdout) == (0, "client\n"), done.stderr
        assert subprocess.run([*who, *CHAOS, "down"], check=False, timeout=PATIENCE).returncode == 0
        assert running.wait(PATIENCE) == 0
