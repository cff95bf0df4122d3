"""A case in plain words: what will be sent, dropped and answered, when, and what the kernel will return.

The times are those of the sysctls that the lab will have in force; the errors are the kernel's, not the scenario's.
"""

from __future__ import annotations

import errno
import os
import textwrap
from collections.abc import Iterator

from chaos.backends.netns import places
from chaos.clients._steps import spoken
from chaos.clients.socket import Socket
from chaos.lookup import ATTEMPTS, TIMEOUT
from chaos.model import RESOLVER, Setting
from chaos.predict import Prediction, effects, predict, schedule, sysctls
from chaos.scenario import Case, load

__all__ = ["Prediction", "explain", "predict"]

WIDTH, MARGIN = 110, 18
NOT_ERRNO = {
    "ok": "no error",
    "timeout": "the client's own clock, no errno",
    "eof": "end of the stream",
    "hang": "it waits until it is killed at its deadline",
}


def explain(case: Case) -> str:
    """The text for one case."""
    prediction = predict(case)
    told = effects(case) or []
    sections = [
        ("Why", _why(case)),
        ("Network", _network(case.setting)),
        *_names(case.setting),
        ("Listener", _listener(case.setting)),
        ("Client", _client(case)),
        *([("Kernel", _kernel(case))] if case.setting.type == "stream" and not case.setting.local else []),
        *((kind, effect.says) for (kind, _), effect in zip(case.faults, told, strict=False)),
        ("Then", "\n".join(f"{_when(at):>10}  {text}" for at, text in prediction.events)),
        ("The client", _ending(prediction, case)),
        ("Its wire", _wire(prediction)),
        ("Before, after", "the same client, or our own, must succeed on the healthy network, or the run is INVALID"),
    ]
    return "\n".join(_lines(sections)) + "\n"


def _lines(sections: list[tuple[str, str]]) -> Iterator[str]:
    for title, text in sections:
        for number, line in enumerate(line for each in text.splitlines() for line in _wrapped(each)):
            yield f"{title if number == 0 else '':<{MARGIN}} {line}".rstrip()


def _wrapped(line: str) -> list[str]:
    indent = " " * 12 if line.startswith(" ") else ""
    return textwrap.wrap(line, WIDTH - MARGIN - 1, subsequent_indent=indent) or [line]


def _when(at: float | None) -> str:
    return "then" if at is None else f"at {_seconds(at)}"


def _why(case: Case) -> str:
    return load(case.file).why if case.file.exists() else ""


def _network(setting: Setting) -> str:
    there = places(list(setting.topology.services))
    ends = [f"{name} ({there[name][setting.family]})" for name in dict.fromkeys((setting.client, setting.target.node))]
    if setting.local:
        return f"none: {setting.client} alone, and the path {setting.pathname}"
    if setting.path == "direct":
        return f"{' - '.join(ends)}, on one link"
    return f"{' - router - '.join(ends)}; a round trip takes {_seconds(setting.rtt)}"


def _names(setting: Setting) -> Iterator[tuple[str, str]]:
    """Where names come from and lead to, if it is not as ever: /etc/hosts, and the family's address."""
    told = []
    if setting.names == "dns":
        options = f"timeout:{TIMEOUT} attempts:{ATTEMPTS}"
        told.append(f"from the DNS server at {RESOLVER}; resolv.conf says {options}, where 5 and 2 are usual")
    if setting.addresses == "both":
        told.append(f"lead to an address of each family; faults act on {setting.family} alone")
    if told:
        yield "Names", "\n".join(told)


def _listener(setting: Setting) -> str:
    listen = setting.listen
    kind = f", {setting.type} sockets" if setting.local or setting.type != "stream" else ""
    return f"at {listen.node}, port {listen.port}, speaks {listen.speaks}, backlog {listen.backlog}{kind}"


def _client(case: Case) -> str:
    client, target = case.client, case.setting.target
    dials = f"{case.adapter} at {client.node} dials {target.node}:{target.port}"
    if isinstance(client, Socket):
        steps = map(spoken, client.steps)
        dials += f" ({client.mode}): {', '.join(steps)}{_peculiar(client)}"
    timeout = getattr(client, "timeout", None)
    return dials + (f"; its own time-out is {_seconds(timeout)}" if timeout else "; it has no time-out of its own")


def _peculiar(client: Socket) -> str:
    """What this client's socket has that an ordinary one has not."""
    told = [f"{name}={value:g}" for name, value in client.options.given().items()]
    if client.bind is not None:
        told.append("bound to " + (f"port {client.bind.port}" if client.bind.port else "a foreign address"))
    if client.privileges == "none":
        told.append("without privileges")
    return f"; {', '.join(told)}" if told else ""


def _kernel(case: Case) -> str:
    plan = schedule(case.setting, case.client)
    values = ", ".join(f"{name}={value}" for name, value in sysctls(case.setting).items())
    sends = ", ".join(_seconds(at) for at in plan.sends)
    return f"{values}\nan unanswered SYN is sent at {sends}, and given up after {_seconds(plan.gives_up)}"


def _ending(prediction: Prediction, case: Case) -> str:
    if not prediction.errors:
        return "is connected; what it makes of what follows is its own affair, and not foretold"
    low, high = prediction.elapsed
    said = " or ".join(f"{error} ({_meaning(error)})" for error in prediction.errors)
    where = f" in {prediction.phase}" if prediction.phase else ""
    until = f"{_seconds(low)} to {_seconds(high)}" if high is not None else f"{_seconds(low)} or more"
    lines = [f"gets {said}{where}, {until} after its first segment"]
    if not isinstance(case.client, Socket):
        lines.append(f"how {case.adapter} says so is its own affair")
    return "\n".join(lines)


def _meaning(error: str) -> str:
    number = getattr(errno, error, None)
    return os.strerror(number) if number else NOT_ERRNO.get(error, error)


def _wire(prediction: Prediction) -> str:
    if prediction.wire is None:
        return "not foretold"
    return "\n".join(prediction.wire) or "nothing"


def _seconds(value: float) -> str:
    return f"{value * 1000:.4g} ms" if 0 < value < 1 else f"{value:.4g} s"
