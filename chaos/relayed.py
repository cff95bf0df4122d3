"""What a client behind a Toxiproxy sees of a fault: the proxy has accepted by then, and passes on little of it.

Toxiproxy dials when it has accepted; it turns a refusal, and an end of any kind, into a FIN, and silence into silence.
"""

from __future__ import annotations

from dataclasses import replace

from chaos.effect import Effect
from chaos.model import Setting

GIVEN_UP = ("eof", "ECONNRESET")
"""What ends the wait when the proxy has dialled in vain: a FIN, or a RST where the client's data was never read."""


def relayed(effect: Effect, setting: Setting) -> Effect:
    """The effect as the client meets it; unchanged where it acts on the client's own connection."""
    if not setting.proxied or not (effect.behind or effect.at == setting.listen.node):
        return effect
    proxy, says = setting.target.node, effect.says
    if effect.peer in ("close", "abort", "forget"):
        after = "data" if effect.peer == "forget" else effect.after
        return Effect(
            f"{says}; the proxy then closes the client's connection (a FIN)", proxy, peer="close", after=after
        )
    if effect.peer is not None:
        return replace(effect, at=proxy)
    if not {"> syn", "< syn-ack"} & set(effect.meets):
        return replace(effect, at=proxy, meets=(), answer=None, behind=True)
    if effect.answer:
        return Effect(f"{says}; the proxy has accepted, is refused, and closes", proxy, peer="close")
    return Effect(f"{says}; the proxy has accepted, and dials on", proxy, peer="silent")
