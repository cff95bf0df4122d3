"""The command `connect-chaos`: its arguments, its exit status, and nothing else; chaos/commands/ has the commands.

Exit status: 0 all passed, 1 a FAIL, 2 bad input, 3 INVALID or a broken environment, 130 interrupted. `exec` and
`shell` pass on the status of the program that they ran.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from chaos import commands
from chaos.errors import ChaosError, ScenarioError

ORDER = (
    "run",
    "validate",
    "list",
    "explain",
    "plan",
    "cliff",
    "faults",
    "atlas",
    "exec",
    "up",
    "shell",
    "down",
    "show",
    "doctor",
    "schema",
    "clean",
)
"""In which help names them; one that is not here comes last."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. `--help` and wrong arguments are SystemExit, as argparse has it."""
    options = parser().parse_args(argv)
    try:
        status: int = options.run(options)
        sys.stdout.flush()  # so that a reader who has gone is noticed here
        return status
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return commands.BAD_INPUT
    except ChaosError as error:
        print(f"connect-chaos: {error}", file=sys.stderr)
        return commands.BROKEN
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return commands.BROKEN


class Parser(argparse.ArgumentParser):
    """One that can keep what stands behind `--` whole, whatever options stand before it.

    argparse takes positional arguments in one run: `shell NODE --fault F -- COMMAND` would lose its command.
    """

    behind_dashes = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = [*(args or ())]
        cut = words.index("--") if self.behind_dashes and "--" in words else len(words)
        found, extras = super().parse_known_args(words[:cut] if self.behind_dashes else args, namespace)
        if self.behind_dashes:
            found.argv = words[cut + 1 :]
        return found, extras


def parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    whole = Parser(
        prog="connect-chaos",
        description="Break a TCP connect in one exact way, run a real client, and see what it surfaced.",
        epilog="Exit status: 0 all passed, 1 a FAIL, 2 bad input, 3 INVALID or a broken environment, 130 interrupted.",
        allow_abbrev=False,
    )
    chosen = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in found():
        text = module.__doc__ or ""
        one = chosen.add_parser(
            module.__name__.rpartition(".")[2],
            help=text.partition("\n")[0].partition(": ")[2].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.options(one)
        one.set_defaults(run=module.run)
    return whole


def found() -> list[ModuleType]:
    """The commands' modules, in the order of help."""
    names = [one.name for one in pkgutil.iter_modules(commands.__path__) if not one.name.startswith("_")]
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return [importlib.import_module(f"{commands.__name__}.{name}") for name in names]


if __name__ == "__main__":
    sys.exit(main())
