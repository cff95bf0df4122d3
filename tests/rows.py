"""Runs in containers, in rows: those of a row have the same containers, one after another, and all rows go at once.

To start a lab costs as much processor as ten of its runs, so that there are hardly more labs than rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
LONGEST = 120
"""Of a row; what more of them share containers has several."""


def in_rows(all_of_them: Sequence[T], sharing: Callable[[T], Hashable], work: Callable[[T], R]) -> list[R]:
    """What becomes of each, in their order; `sharing` is the same for those that share containers."""
    by_kind: dict[Hashable, list[int]] = {}
    for number, one in enumerate(all_of_them):
        by_kind.setdefault(sharing(one), []).append(number)
    rows = [row for numbers in by_kind.values() for row in divided(numbers)]
    with ThreadPoolExecutor(len(rows)) as threads:
        done = threads.map(lambda row: [(number, work(all_of_them[number])) for number in row], rows)
        found = dict(pair for row in done for pair in row)
    return [found[number] for number in range(len(all_of_them))]


def divided(numbers: Sequence[int]) -> list[Sequence[int]]:
    """In rows of about the same length."""
    count = -(-len(numbers) // LONGEST)
    return [numbers[at::count] for at in range(count)]
