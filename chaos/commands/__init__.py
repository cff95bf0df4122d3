"""One file for each command of `connect-chaos`; the file's name is the command, its docstring the command's help.

Each has `options(parser)`, which adds its arguments, and `run(options)`, which returns the exit status. What is
imported at the top of these files is light; what a command needs, it imports when it runs.
"""

from typing import Final

PASSED: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2
BROKEN: Final = 3
"""INVALID, or an environment in which nothing can be known."""
INTERRUPTED: Final = 130
