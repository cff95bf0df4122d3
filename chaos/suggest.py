"""The end of an error message: the word that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word is near."""
    near = nearest(word, known)
    return f" (did you mean '{near}'?)" if near else ""


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that is nearest to `word`, letter case and `-` or `_` aside, or None."""
    from difflib import get_close_matches  # only bad input pays for it

    folded = {_fold(name): name for name in known}
    near = get_close_matches(_fold(str(word)[:64]), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def _fold(word: str) -> str:
    return word.lower().replace("_", "-")
