"""What root can do, an ordinary user can: the shipped scenarios, run again as nobody.

Those that do not wait are run one after another, in one family each (tests/test_many.py), all others here, side by
side.
"""

from __future__ import annotations

import os
import re

import pytest

from tests import shipped
from tests.nobody import PYTHON, as_nobody

PYTEST = [*PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--chaos-artifacts=never", "-q", "-rs"]


@pytest.mark.slow("every shipped scenario that waits once more, with the kernel's timers")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody; the others are ordinary users already")
def test_every_scenario_passes_and_only_compressed_time_is_skipped() -> None:
    cases = [case for case in shipped.cases() if shipped.key(case) not in shipped.quick()]
    expected = [case for case in cases if case.setting.timing != "compressed"]
    assert expected
    done = as_nobody([*PYTEST, *(str(case.node_id) for case in cases)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(expected)} passed, {len(cases) - len(expected)} skipped" in done.stdout
    assert re.search(r"SKIPPED.*timing: compressed", done.stdout)
