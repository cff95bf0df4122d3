"""Which scenario files and cases a command line names: files, folders, and `FILE::CASE` as pytest writes it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.commands import PASSED
from chaos.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from chaos.scenario import Case, Scenario
    from chaos.scenario.load import Doubt

ENDING: Final = ".chaos.yaml"
USUAL: Final = "scenarios"


def options(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """Add FILES."""
    what = f"a {ENDING} file, a folder, or FILE::CASE"
    parser.add_argument("files", metavar="FILE", nargs="*" if several else "+", help=f"{what}; {USUAL}/ by default")


def tell(options: argparse.Namespace, key: str, say: Callable[[Case], str]) -> int:
    """Print what is to be said of each case: as text, or with --json as one object a line with this key."""
    chosen = cases(options.files)
    for number, case in enumerate(chosen):
        text = say(case).rstrip()
        if options.json:
            print(json.dumps({"id": case.node_id, key: text}, ensure_ascii=False))
        else:
            print(*([""] if number else []), *([f"# {case.node_id}"] if len(chosen) > 1 else []), text, sep="\n")
    return PASSED


def selections(names: Sequence[str]) -> list[tuple[Path, str | None]]:
    """(file, name of a case or None for all), each once, folders in alphabetical order.

    Raises ScenarioError when a folder has no scenario in it; a file that is missing is for its reader to say.
    """
    found: dict[tuple[Path, str | None], None] = {}
    for name in names or [USUAL]:
        file, _, case = name.partition("::")
        files: Iterable[Path] = sorted(below(Path(file))) if Path(file).is_dir() else [Path(file)]
        found |= dict.fromkeys((each, case or None) for each in files)
        if not files:
            raise ScenarioError([Problem(file, 0, 0, f"no {ENDING} file in this folder")])
    return list(found)


def below(folder: Path) -> Iterator[Path]:
    """The scenario files in a folder and those inside it; hidden ones and virtual environments left out."""
    for entry in folder.iterdir():
        if entry.is_dir():
            if not entry.name.startswith(".") and not (entry / "pyvenv.cfg").exists():
                yield from below(entry)
        elif entry.name.endswith(ENDING):
            yield entry


def scenarios(names: Sequence[str], doubt: Doubt = lambda _case: ()) -> tuple[list[Scenario], list[Problem]]:
    """Every scenario that can be read, with the selected cases alone, and what is wrong with the others.

    `doubt` is asked for the scenarios' warnings.
    """
    from chaos.scenario import load

    loaded: list[Scenario] = []
    problems: list[Problem] = []
    for path, case in selections(names):
        try:
            loaded.append(_only(load(path, doubt=doubt), case))
        except ScenarioError as error:
            problems += error.problems
    return loaded, problems


def cases(names: Sequence[str]) -> list[Case]:
    """The selected cases. Raises ScenarioError with every problem of every file."""
    loaded, problems = scenarios(names)
    if problems:
        raise ScenarioError(problems)
    return [case for scenario in loaded for case in scenario.cases]


def _only(scenario: Scenario, name: str | None) -> Scenario:
    if name is None:
        return scenario
    from dataclasses import replace

    from chaos.source import shown
    from chaos.suggest import did_you_mean

    chosen = tuple(case for case in scenario.cases if case.name == name)
    if not chosen:
        known = [case.name for case in scenario.cases]
        near = did_you_mean(name, known) or f"; it has: {', '.join(known)}"
        raise ScenarioError([Problem(shown(scenario.file), 0, 0, f"no case `{name}`{near}")])
    return replace(scenario, cases=chosen)
