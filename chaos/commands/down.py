"""down: end the lab that `up` keeps running, and wait until it has ended."""

from __future__ import annotations

import argparse

from chaos.commands import PASSED


def options(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(_options: argparse.Namespace) -> int:
    """Ask, and wait; the connection closes when nothing is left."""
    from chaos import control

    with control.connect() as connection:
        control.say(connection, {"do": "down"})
        while control.heard(connection)[0] is not None:
            pass
    return PASSED
