"""Our captures as files: what tshark lists, what comes back, what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chaos import pcapng
from chaos.packets import Frame

TSHARK = shutil.which("tshark")
CAPTURES = {
    "client": [
        Frame(1_700_000_000_000_000_001, True, b"a" * 60, 60),
        Frame(1_700_000_000_000_000_900, False, b"b" * 61, 1514),
    ],
    "server": [Frame(1_700_000_000_000_000_500, False, b"c" * 63, 63)],
    "bystander": [],
}


def test_what_was_written_comes_back() -> None:
    assert pcapng.loads(pcapng.dumps(CAPTURES)) == CAPTURES


def test_a_frame_without_its_length_has_that_of_its_data() -> None:
    written = pcapng.loads(pcapng.dumps({"client": [Frame(1, True, b"abcd", 0)]}))
    assert written["client"][0].length == 4


@pytest.mark.skipif(TSHARK is None, reason="tshark: not found; install it with: apt-get install tshark")
@pytest.mark.slow("tshark takes its time to start")
def test_tshark_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "packets.pcapng"
    pcapng.write(path, CAPTURES)
    fields = ["frame.time_epoch", "frame.interface_name", "frame.cap_len", "frame.len"]
    argv = [str(TSHARK), "-n", "-r", str(path), "-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "1700000000.000000001\tclient\t60\t60",
        "1700000000.000000500\tserver\t63\t63",
        "1700000000.000000900\tclient\t61\t1514",
    ]


@pytest.mark.parametrize("data", [b"", b"\n\r\r\n", b"not a capture at all, but long enough", b"\xd4\xc3\xb2\xa1" * 6])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a little-endian pcapng"):
        pcapng.loads(data)


@pytest.mark.parametrize("size", [30, 61, 100, -1])
def test_a_file_cut_short_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="at byte"):
        pcapng.loads(pcapng.dumps(CAPTURES)[:size])
