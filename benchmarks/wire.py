"""What the relay of the wire costs: of a round trip, and with a rule in force; on one machine, in one run.

A round trip is one byte there and back over an established connection. The same is measured over a link without a relay
(`path: direct`), so that what is left is the relay's own: two turns through user space, and two wake-ups by a timer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Row, median_ms, percentile
from chaos import kinds, topology
from chaos.backends.netns import Netns
from chaos.model import Path as Way
from chaos.model import Setting

TRIPS, RTT = 2000, 0.002
CLIENT = """\
import json, socket, sys, time
host, trips, size, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), []
sock = socket.create_connection((host, 8080))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(trips):
    started, missing = time.perf_counter(), size
    sock.sendall(b"x" * size)
    while missing:
        missing -= len(sock.recv(1 << 20))
    times.append(time.perf_counter() - started)
print(json.dumps(times))
"""


def rows() -> Iterator[Row]:
    """The relay's own time of a round trip; what a rule adds to it; and of a megabyte each way."""
    with Netns() as session:
        direct = trips(session, "direct")
        routed = trips(session, "routed")
        ruled = trips(session, "routed", rule=True)
        bulk = trips(session, "routed", count=20, size=1 << 20)
    own = median_ms(routed) - median_ms(direct) - RTT * 1000
    note = f"{TRIPS} round trips: {median_ms(routed):.3f} - {median_ms(direct):.3f} - {RTT * 1000:g} ms"
    yield Row("wire: added to a round trip, median", own, "ms", 0.3, note)
    yield Row("wire: of it p95", percentile(routed, 0.95) * 1000 - median_ms(direct) - RTT * 1000, "ms")
    yield Row("wire: a rule in force adds, median", median_ms(ruled) - median_ms(routed), "ms", None, "to a round trip")
    yield Row("wire: a mebibyte there and back, median", median_ms(bulk), "ms")


def trips(session: Netns, path: Way, *, rule: bool = False, count: int = TRIPS, size: int = 1) -> list[float]:
    """Seconds of each round trip; with a rule that looks at every frame and takes none."""
    setting = Setting(topology.find("client-server", Path.cwd()), path=path, rtt=RTT)
    fault = kinds.fault("delay", {"segment": "any", "by": "1s", "nth": "1000000.."})
    with session.start(setting) as lab, ExitStack() as undo:
        if rule:
            undo.enter_context(fault.inject(lab))
        argv = [sys.executable, "-I", "-S", "-c", CLIENT, lab.nodes["server"].address, str(count), str(size)]
        times: list[float] = json.loads(lab.nodes["client"].call("command", argv=argv))
    return times
