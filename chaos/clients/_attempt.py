"""What the adapters share: the placeholders of a command, the deadline, and the `attempt` operation's result.

A client that is a program names its error in words or not at all; one that is a function of Python's is called by
`chaos/agent/surface.py`, which reports what it raised. That program travels as text: a node may not have our files.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chaos.clients._texts import error_named
from chaos.errors import LabError, Problem, ScenarioError, ToolMissing
from chaos.model import Endpoint, Lab, Outcome, Setting, Surfaced
from chaos.schedule import GIVES_UP

MARGIN: Final = 5.0
"""Seconds after its deadline within which a client has been killed and has been reported."""

INSTALLS: Final = {
    "requests": "pip install requests",
    "httpx": "pip install httpx",
    "nc": "apt-get install netcat-openbsd",
}
HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
PLACEHOLDER: Final = re.compile(r"\{(target|host|port|url)\}")


def deadline(setting: Setting, timeout: float | None) -> float:
    """Seconds after which a client hangs: its own time-out or the kernel's, as late as may be, and five more."""
    return (GIVES_UP[setting.timing] if timeout is None else timeout) * 1.125 + 5.0


def places(target: Endpoint) -> dict[str, str]:
    """What the placeholders stand for."""
    host = f"{target.node}:{target.port}"
    return {"target": host, "host": target.node, "port": str(target.port), "url": f"http://{host}/"}


def filled(argv: Sequence[str], setting: Setting) -> list[str]:
    """The command with its placeholders filled in; other braces are the program's own.

    Raises ScenarioError when the target's name is no host name, or would make an option of an argument.
    """
    values, made = places(setting.target), []
    for number, template in enumerate(argv):
        argument = PLACEHOLDER.sub(lambda match: values[match[1]], template)
        option = argument.startswith("-") and not template.startswith("-")
        if argument != template and (option or not HOST.fullmatch(values["host"])):
            text = f"`{values['host']}` cannot be filled in for `{template}`, argument {number} of the client's command"
            raise ScenarioError([Problem(setting.topology.file, 0, 0, text)])
        made.append(argument)
    return made


def run_command(lab: Lab, node: str, argv: Sequence[str], timeout: float | None) -> Outcome:
    """One run of a program, and what it said about how it ended."""
    job = {"argv": filled(argv, lab.setting), "deadline": deadline(lab.setting, timeout), "directory": str(Path.cwd())}
    result = _attempted(lab, node, job)
    error = "hang" if result["hung"] else _error_said(job["argv"], result)
    return _outcome(result, error, exit=_exit(result), error_from="errno" if result["hung"] else "text")


def _error_said(argv: Any, result: Mapping[str, Any]) -> str | None:
    """What a program's end and output say. Exit 0 is believed when something was printed, unless only as an error."""
    status, stdout, stderr = _exit(result), result["stdout"], result["stderr"]
    if status == 124 and Path(argv[0]).name == "timeout":
        return "timeout"
    if status != 0:
        return error_named(stderr) or error_named(stdout)
    if stdout.strip():
        return "ok"
    return (error_named(stderr) or "ok") if stderr.strip() else "no-verdict"


def call_function(
    lab: Lab,
    node: str,
    timeout: float | None,
    *,
    function: str | None = None,
    code: str | None = None,
    libraries: Sequence[str],
    path: Sequence[str] = (),
) -> Outcome:
    """One call of a function `pkg.mod:name`, or of the `call(target)` that a text of Python defines.

    `libraries` are what it has loaded when it begins. `path` are folders to import from. Raises ToolMissing when a
    library that `code` imports is not there, LabError when the function cannot be imported.
    """
    target = lab.setting.target
    inner = {"function": function, "code": code, "path": [*path], "timeout": timeout, **places(target)}
    inner |= {"port": target.port}
    job = {
        "argv": [sys.executable],
        "deadline": deadline(lab.setting, timeout),
        "directory": str(Path.cwd()),
        "surface": inner,
    }
    result = _attempted(lab, node, job, libraries=[*libraries])
    report = result["report"] or {}
    if "unloadable" in report:
        raise _unloadable(report, function)
    if result["hung"]:
        return _outcome(result, "hang")
    if not report:  # it ended itself (os._exit, a crash) before it could say anything
        return _outcome(result, "no-verdict" if result["exit"] == 0 else None, exit=_exit(result))
    return _reported(result, report)


def _reported(result: Mapping[str, Any], report: Mapping[str, Any]) -> Outcome:
    """The outcome of a function that returned or raised; its words count where no exception has an errno."""
    chain = tuple(Surfaced(**each) for each in report["chain"])
    said = None if report["error"] else error_named("\n".join(each.message for each in chain))
    more = {"phase": report["phase"], "code": report["code"], "chain": chain}
    return _outcome(result, report["error"] or said, error_from="text" if said else "errno", **more)


def _unloadable(report: Mapping[str, Any], function: str | None) -> LabError:
    if function is None and report["module"]:
        return ToolMissing(report["module"], INSTALLS.get(report["module"], f"pip install {report['module']}"))
    return LabError(f"the python client `{function}` cannot be imported: {report['unloadable']}")


def _attempted(lab: Lab, node: str, job: dict[str, Any], **more: Any) -> Mapping[str, Any]:
    """The operation's result; a program that could not be started is no outcome."""
    running = lab.nodes[node].start("attempt", job=job, **more)
    result: Mapping[str, Any] | None = None
    try:
        result = running.next(job["deadline"] + MARGIN)
    finally:
        if result is None:  # with a result it has ended by itself
            running.end()
    if result is None:
        raise LabError(f"node `{node}` could not end its client within {MARGIN:g} s of the deadline")
    if "missing" not in result:
        return result
    tool = result["missing"]
    if result["errno"] == "ENOENT":
        raise ToolMissing(tool, INSTALLS.get(tool, f"apt-get install {shlex.quote(tool)}"))
    raise LabError(f"{tool}: cannot be started in node `{node}`: {result['errno']}")


def _outcome(result: Mapping[str, Any], error: str | None, **more: Any) -> Outcome:
    kept = {name: result[name] for name in ("started_ns", "returned_ns", "stdout", "stderr")}
    more["phase"] = more.get("phase") or ("resolve" if error and error.startswith("EAI_") else None)
    return Outcome(error=error, **kept, **more)


def _exit(result: Mapping[str, Any]) -> int | None:
    """The exit status as subprocess counts it: a signal is negative."""
    status: int | None = result["exit"]
    return status if result["signal"] is None else -result["signal"]
