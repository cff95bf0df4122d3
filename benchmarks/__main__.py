"""`python -m benchmarks [NAME...]`: run the named benchmarks, or all of them, and print one table."""

from __future__ import annotations

import importlib
import sys
import time

from benchmarks.measure import Row, table

NAMES = (
    "refused", "wire", "side_by_side", "compressed", "many", "beside_hogs", "captures", "collection", "foreign",
    "containers", "sigkill",
)  # fmt: skip


def main() -> int:
    """Exit status 1 when a bar is missed."""
    names = sys.argv[1:] or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in names:
        started = time.monotonic()
        rows += importlib.import_module(f"benchmarks.{name}").rows()
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    print(table(rows))
    return int(any(row.bar is not None and row.value > row.bar for row in rows))


sys.exit(main())
