"""Scenarios: one `.chaos.yaml` file is one behaviour; `load` gives the cases in it, ready to run."""

from chaos.scenario.case import Case, Scenario
from chaos.scenario.language import Accepted, Expect, QueueLimit, Surfaces
from chaos.scenario.load import load

__all__ = ["Accepted", "Case", "Expect", "QueueLimit", "Scenario", "Surfaces", "load"]
