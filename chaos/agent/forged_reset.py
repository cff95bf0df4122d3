"""Operation `forged_reset`: a third party on the path sends the client a RST in the server's name.

It stands on the wire (wire.py), half a round trip from the client: what the relay gives back to the router is answered
with a frame that the router takes for one more of the wire's, and forwards.

It hears what the client sends, so it knows the number that the client expects next (RCV.NXT): it is the one that the
client acknowledges. RFC 5961, 3.2 and net/ipv4/tcp_input.c, tcp_validate_incoming(): a RST with exactly that number
resets; one elsewhere in the window draws a challenge ACK; one outside is dropped. A client in SYN_SENT has no RCV.NXT:
there the RST must acknowledge the SYN (RFC 9293, 3.10.7.3).
"""

from __future__ import annotations

from chaos.agent import forge, tap
from chaos.agent.serve import Agent, Pipe

OFFSETS = {"exact": 0, "in-window": 1000, "outside": 1 << 30}
"""From the number that is expected. The window of a connection that has read nothing is some 64 KB, at least 2920."""


def run(agent: Agent, *, interface: str, address: str, port: int, sequence: str, after: str) -> int:
    """Wait for a segment to (address, port) that this interface sends, and answer it once; returns the child's number.

    sequence: `exact`, `in-window` or `outside`. after: `syn`, `accept` (the final ACK) or `data`. Its first event is
    {"ready": true}, its second, if the segment comes, {"forged": sequence number}.
    """
    return agent.fork(lambda pipe: forge_one(interface, (address, port), sequence, after, pipe))


def forge_one(interface: str, server: tuple[str, int], sequence: str, after: str, pipe: Pipe) -> None:
    """One RST, the way that the client's segment goes on: the router forwards it by its destination."""
    with tap.listen(interface) as sock:
        pipe.write({"ready": True})
        for seen in tap.segments_to(sock, *server, outgoing=True):
            if is_due(seen, after):
                sock.send(answer(seen, OFFSETS[sequence]))
                pipe.write({"forged": True})
                break
    pipe.next()  # until the agent ends us


def is_due(seen: tap.Seen, after: str) -> bool:
    """Whether this segment of the client's is the one that is waited for."""
    if after == "syn":
        return seen.flags & (forge.SYN | forge.ACK) == forge.SYN
    bare = not seen.flags & (forge.SYN | forge.FIN | forge.RST) and bool(seen.flags & forge.ACK)
    return bare and bool(seen.length) == (after == "data")


def answer(seen: tap.Seen, offset: int) -> bytes:
    """The frame, to the same device; what is off is the number by which a RST is judged."""
    if seen.flags & forge.ACK:
        reset = forge.packet(seen.dst, seen.src, flags=forge.RST, seq=seen.ack + offset)
    else:
        reset = forge.packet(seen.dst, seen.src, flags=forge.RST | forge.ACK, seq=0, ack=seen.seq + 1 + offset)
    return seen.ethernet + reset
