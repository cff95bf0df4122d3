"""`dns {answer, by?, tcp?, at?}`: the DNS server answers in one exact wrong way, or does not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._rules import FIREWALL
from chaos.faults._swallowed import routed, swallowed
from chaos.fields import Duration, NodeName
from chaos.lookup import ATTEMPTS, TIMEOUT, delays
from chaos.model import RESOLVER, ROUTER, Lab, Setting

Answer = Literal["nxdomain", "nodata", "servfail", "refused", "timeout", "truncated", "wrong", "slow"]
GIVES_UP = ATTEMPTS * TIMEOUT
"""Seconds after which glibc has asked in vain as often as it does."""
ENDS = {"nxdomain": "EAI_NONAME", "nodata": "EAI_NODATA", "servfail": "EAI_AGAIN", "refused": "EAI_AGAIN"}
ASKED = {"servfail": ATTEMPTS, "refused": ATTEMPTS}
"""How often glibc asks before it believes such an answer; once, any other."""


@dataclass(frozen=True)
class Dns:
    """The DNS server says nxdomain, nodata, servfail or refused, says nothing, cuts its answers, is wrong, or is slow.

    Wire: questions to port 53 and the answer named; for `timeout` each question again and nothing back, for `truncated`
        an answer with TC, and the question again over TCP; with `tcp: false` a RST to that.
    By hand: `dnsmasq -d --no-hosts --address=/server/` (nxdomain); `iptables -A INPUT -p udp --dport 53 -j DROP`
        (timeout)
    Linux: getaddrinfo() fails with EAI_NONAME, EAI_NODATA or EAI_AGAIN, in 2 s for `timeout` (10 s by resolv.conf(5)'s
        defaults); `wrong` surfaces in connect().
    Imitates: a name not yet or no longer published; a zone that does not load; a resolver that is dead, overloaded or
        behind a firewall that lets no TCP through; a stale record.
    """

    requires: ClassVar[tuple[str, ...]] = ("python:dnslib", *FIREWALL)

    answer: Answer
    by: Annotated[Duration | None, Field(description="of `slow`: how late each answer is")] = None
    tcp: Annotated[bool, Field(description="of `truncated`: whether it takes connections")] = True
    at: NodeName = RESOLVER

    def __post_init__(self) -> None:
        """Each parameter has its answer. Raises ValueError."""
        if (self.answer == "slow") != (self.by is not None):
            raise ValueError("`by` says how late a `slow` answer is, such as `by: 1500ms`; no other answer has it")
        if not self.tcp and self.answer != "truncated":
            raise ValueError("`tcp: false` is for `truncated`: nobody asks over TCP otherwise")

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: only the SYNs to a wrong address are swallowed by a firewall."""
        return self.requires if self.answer == "wrong" else ("python:dnslib",)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """Names must come from this server."""
        service = setting.topology.services.get(self.at)
        if setting.names != "dns":
            yield "answer", "nobody asks a DNS server here; say `names: dns`"
        elif service is not None and not service.resolver:
            yield "at", f"{self.at!r} is no DNS server; {RESOLVER!r} is"
        if self.answer == "wrong":
            yield from routed(setting, "`answer: wrong`")

    def effect(self, setting: Setting) -> Effect:
        """An end of getaddrinfo(), or an address that is late or wrong."""
        rtt = setting.rtt if setting.path == "routed" else 0.0
        says = f"the DNS server at {self.at} {self._does()}"
        if self.answer in ENDS:
            taken = ASKED.get(self.answer, 1) * rtt
            return Effect(says, self.at, errno=ENDS[self.answer], phase="resolve", delay=taken)
        if self.answer == "timeout" or (self.by or 0.0) + rtt >= GIVES_UP:
            return Effect(says, self.at, errno="EAI_AGAIN", phase="resolve", delay=GIVES_UP)
        if not self.tcp:
            return Effect(says, self.at, errno="EAI_AGAIN", phase="resolve", delay=2 * rtt)
        if self.answer == "wrong":
            return Effect(f"{says}; the router swallows its SYNs", ROUTER, ("> syn",))
        late = 3 * rtt if self.answer == "truncated" else rtt + (self.by or 0.0)
        return Effect(says, self.at, phase="resolve", delay=late)

    def _does(self) -> str:
        return {
            "timeout": "says nothing",
            "truncated": f"cuts its answers, and over TCP it {'has the whole' if self.tcp else 'cannot be reached'}",
            "wrong": "answers with an address that belongs to nobody",
            "slow": f"answers {self.by} s late",
        }.get(self.answer, f"answers {self.answer}")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        resolver = lab.resolver(self.at)
        with ExitStack() as undo:
            undo.callback(resolver.behave, "honest")
            if self.answer == "wrong":
                undo.enter_context(swallowed(lab, lab.setting.client, [lab.nowhere]))
            resolver.behave("honest" if self.answer == "wrong" else self.answer, by=self.by or 0.0, tcp=self.tcp)
            yield Touching(resolver.answered, lambda evidence: self._doubt(evidence, lab.nowhere))

    def _doubt(self, evidence: Evidence, nowhere: str) -> str | None:
        """The client's own capture must have the question, and show how it was answered."""
        at, answers = f"the capture at {evidence.client}", [one for one in evidence.lookups if one.way == "<"]
        if len(answers) == len(evidence.lookups):
            return f"{at} has no question to a DNS server"
        if self.answer == "timeout":
            return f"{at} has an answer, {answers[0]}" if answers else None
        if self.answer == "slow":
            return self._hurry(evidence)
        if self.answer == "wrong":
            told = any(nowhere in one.addresses for one in answers)
            return None if told else f"{at} has no answer with the address {nowhere}"
        if self.answer == "truncated" and self.tcp != any(one.tcp for one in answers):
            return f"{at} has {'no answer' if self.tcp else 'an answer'} over TCP"
        return None if any(one.answer == self.answer for one in answers) else f"{at} has no answer {self.answer}"

    def _hurry(self, evidence: Evidence) -> str | None:
        """Why the answers were not late."""
        assert self.by is not None
        quick = [delay for delay in delays(evidence.lookups) if delay < self.by]
        return f"an answer came after {quick[0]:.3f} s, which is less than {self.by} s" if quick else None
