"""`proxy-down {at?}`: Toxiproxy's proxy is disabled: nobody listens, the one failure of connect() that it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._proxy import Since, of_toxiproxy
from chaos.faults._seen import no_reset
from chaos.fields import NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class ProxyDown:
    """The proxy of a Toxiproxy (that the client dials, unless `at` names another) is disabled: connection refused.

    Wire: the SYN is answered at once with RST, ACK by the kernel of Toxiproxy's node.
    By hand: `curl -X POST -d '{"enabled": false}' http://127.0.0.1:8474/proxies/NAME`
    Linux: connect() fails with ECONNREFUSED after one round trip.
    Imitates: a proxy or load balancer whose listener is gone.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    outermost: ClassVar[bool] = True

    at: NodeName | None = None

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """There must be a Toxiproxy."""
        yield from of_toxiproxy(self.at, setting)

    def effect(self, setting: Setting) -> Effect:
        """A RST from a kernel that has no listener."""
        node = self.at or setting.target.node
        says = f"the proxy at {node} is disabled: nobody listens, and the kernel there answers the SYN with a RST"
        return Effect(says, node, ("> syn",), "rst")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        proxy = lab.proxy(self.at or lab.setting.target.node)
        seen = Since(lab, proxy)

        def doubt(evidence: Evidence) -> str | None:
            if somebody is not None:
                return f"somebody listens on port {proxy.listen[1]} of {proxy.node!r}"
            return no_reset(proxy.node)(evidence)

        try:
            proxy.enable(enabled=False)
            somebody = lab.nodes[proxy.node].call("queue", port=proxy.listen[1])
            yield Touching(lambda: len(seen.of("rst", sent=True)), doubt)
        finally:
            proxy.enable(enabled=True)
