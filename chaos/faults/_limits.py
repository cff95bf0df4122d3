"""What firewalls do that count connections (xt_connlimit, nf_conncount): the first N pass, the next one does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._children import held
from chaos.faults._rules import Selection, armed
from chaos.faults._seen import way_to
from chaos.model import Lab


@contextmanager
def counting(lab: Lab, chosen: Selection, above: int, verdict: Sequence[str]) -> Iterator[Touching]:
    """A rule for SYNs, and as many connections of the client's as pass it; its hits are what it has matched."""
    way = way_to(lab, chosen.end(lab.setting))
    with (
        armed(lab.nodes[chosen.at], lab.setting.family, chosen.rules(lab, verdict)) as rules,
        held(lab.nodes[way.dialler], way.address, way.port, above) as count,
    ):

        def doubt(evidence: Evidence) -> str | None:
            return f"only {count} of {above} connections were there before it" if count < above else None

        yield Touching(rules.hits, doubt)
