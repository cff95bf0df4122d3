"""Run a function in a forked child, as an agent runs what takes long."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any


def forked(function: Callable[[], Any]) -> Any:
    """What the function returns, by way of JSON; an AssertionError with its traceback when it raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = json.dumps([function()])
        except BaseException:
            answer = json.dumps({"raised": traceback.format_exc()})
        with os.fdopen(writer, "w") as file:
            file.write(answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    answer = json.loads(text)
    assert isinstance(answer, list), answer["raised"]
    return answer[0]
