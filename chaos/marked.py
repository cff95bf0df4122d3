"""Values that know where they stand in a file."""

from __future__ import annotations

from typing import Any

from chaos.source import Place


class Marked:
    """A value and where it stands. `value` is a scalar, a list of Marked, or a dict of Marked by key.

    `keys` holds the place of each key of a mapping; `size` counts the values that it unfolds to.
    """

    __slots__ = ("keys", "place", "size", "value")

    def __init__(self, place: Place, value: Any, keys: dict[str, Place] | None = None) -> None:
        self.place, self.value, self.size = place, value, 1
        self.keys: dict[str, Place] = keys if keys is not None else {}

    def get(self, key: str) -> Marked | None:
        """The value of a mapping's key; None when it has none, or this is no mapping."""
        found: Marked | None = self.value.get(key) if isinstance(self.value, dict) else None
        return found

    def plain(self) -> Any:
        """The value without places: str, int, float, bool, None, list or dict."""
        if isinstance(self.value, dict):
            return {key: value.plain() for key, value in self.value.items()}
        return [value.plain() for value in self.value] if isinstance(self.value, list) else self.value

    def at(self, path: tuple[str | int, ...]) -> Any:
        """The plain value at a path of keys; None when there is none."""
        node: Marked | None = self
        for step in path:
            node = node.get(str(step)) if node else None
        return node.plain() if node else None

    def find(self, path: tuple[str | int, ...], key: bool = False) -> Place:
        """Where the value at `path` stands (or its key); of what is not there, the nearest thing around it."""
        node, place = self, self.place
        for step in path:
            inner = node.value
            if isinstance(inner, dict) and step in inner:
                place, node = node.keys[str(step)] if key else inner[step].place, inner[step]
            elif isinstance(inner, list) and isinstance(step, int) and step < len(inner):
                node = inner[step]
                place = node.place
            else:
                return place
        return place

    def without(self, *keys: str) -> Marked:
        """The same mapping less these keys."""
        return Marked(self.place, {key: value for key, value in self.value.items() if key not in keys}, self.keys)

    def over(self, base: Marked, merged: tuple[str, ...] = ()) -> Marked:
        """This mapping laid over `base`, key by key; the keys of `merged` are laid over one level deeper."""
        values = {**base.value, **self.value}
        for key in merged:
            above, below = self.get(key), base.get(key)
            if above and below and isinstance(above.value, dict) and isinstance(below.value, dict):
                values[key] = above.over(below)
        return Marked(self.place, values, {**base.keys, **self.keys})
