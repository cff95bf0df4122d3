"""rtnetlink(7), asked of a real kernel in a network of our own."""

from __future__ import annotations

import socket

import pytest

from chaos.agent import netlink as under_test
from chaos.agent.netlink import LOOPBACK, Netlink
from tests.forked import forked
from tests.test_nothing_left import enter_namespaces

OURS = ("198.18.0.1", "2001:db8::1")
TIMES = 16
"""A worker of the kernel is late with one new IPv6 address in six."""


def addressed() -> Netlink:
    """A network with a link that has an address of either family."""
    enter_namespaces()
    netlink = Netlink()
    netlink.set_up(LOOPBACK)
    netlink.veth("one", "other")
    for address in OURS:
        netlink.address("one", address, 24)
    return netlink


def sent_to_ourselves() -> list[str]:
    """What arrives at each address at once; a datagram to one that is not ours yet is gone."""
    with addressed() as netlink:
        netlink.await_addresses(OURS)
    return [_sent_to(address) for address in OURS]


def _sent_to(address: str) -> str:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((address, 0))
        sock.sendto(address.encode(), sock.getsockname())
        return sock.recv(100).decode()


def test_what_is_sent_to_an_address_arrives_when_it_was_awaited() -> None:
    assert [forked(sent_to_ourselves) for _ in range(TIMES)] == [[*OURS]] * TIMES


@pytest.mark.parametrize("address", ["2001:db8::2", "2001:db9::1"])
def test_an_address_that_does_not_come_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's, on our link or not."""
    monkeypatch.setattr(under_test, "READY", 0.01)

    def awaited() -> str:
        with addressed() as netlink:
            try:
                netlink.await_addresses([OURS[1], address])
            except TimeoutError as error:
                return str(error)
        return "it came"

    assert forked(awaited) == f"[Errno 110] ip route get {address}: not local within 0.01 s"
