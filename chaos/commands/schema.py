"""schema: print the JSON Schema (draft-07) of the scenario language, for editors and other programs."""

from __future__ import annotations

import argparse
import json

from chaos.commands import PASSED


def options(_parser: argparse.ArgumentParser) -> None:
    """It takes none; what it prints is JSON already."""


def run(_options: argparse.Namespace) -> int:
    """Print it; it comes from the same types as the validator."""
    from chaos.schema import schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return PASSED
