"""The JSON Schema (draft-07) of a scenario file, for editors: made from the same types as the validator.

`Document` gives the frame; the fault and client classes of this installation give the rest. What only a lab's topology
can decide (is there such a node?) is left to `connect-chaos validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaos import kinds, typed
from chaos.scenario.language import CASE_NAME, Document, Expect
from chaos.scenario.variants import KEYS

Schema = dict[str, Any]
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"


def schema(*, faults: Mapping[str, type] | None = None, clients: Mapping[str, type] | None = None) -> Schema:
    """The whole schema, for these kinds (those of this package, unless given)."""
    definitions: Schema = {}
    frame = _object(Document, "", definitions)
    definitions["faults"] = _faults(kinds.faults() if faults is None else faults, definitions)
    definitions["client"] = _clients(kinds.clients() if clients is None else clients, definitions)
    definitions["expect"] = {**_object(Expect, "", definitions), "minProperties": 1}
    for key in ("faults", "client", "expect"):
        frame["properties"][key] = _described(frame, key, {"allOf": [_reference(key)]})
    frame["properties"]["cases"] = _described(frame, "cases", _cases(frame["properties"]))
    return {
        "$schema": _DRAFT,
        "title": "connect-chaos scenario",
        **{key: value for key, value in frame.items() if key not in ("title", "description")},
        "anyOf": [{"required": ["expect"]}, {"required": ["cases"]}],
        "definitions": dict(sorted(definitions.items())),
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _cases(keys: Schema) -> Schema:
    """Names of variants; each may say some of the file's keys."""
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": CASE_NAME},
        "additionalProperties": {
            "type": ["object", "null"],
            "properties": {key: keys[key] for key in KEYS},
            "additionalProperties": False,
        },
    }


def _described(frame: Schema, key: str, schema: Schema) -> Schema:
    return {"description": frame["properties"][key]["description"], **schema}


def _faults(known: Mapping[str, type], definitions: Schema) -> Schema:
    """A list of single-key maps; a kind without required parameters may stand alone."""
    items: list[Schema] = []
    for kind, cls in known.items():
        name = f"fault-{kind}"
        definitions[name] = _object(cls, f"{name}-", definitions)
        inner: Schema = _reference(name)
        if not definitions[name].get("required"):
            items.append({"const": kind})
            inner = {"anyOf": [inner, {"type": "null"}]}
        items.append({"type": "object", "properties": {kind: inner}, "required": [kind], "additionalProperties": False})
    return {"type": "array", "items": {"anyOf": items} if items else False}


def _clients(known: Mapping[str, type], definitions: Schema) -> Schema:
    """One shape for each adapter, told apart by `use` (or by `command` and `python`, which stand for themselves)."""
    shapes: list[Schema] = []
    for adapter, cls in known.items():
        shape = _object(cls, f"client-{adapter}-", definitions)
        shape["properties"]["probe"] = {"enum": ["client", "socket"], "description": "who makes the baseline"}
        if adapter not in ("command", "python"):
            shape["properties"]["use"] = {"const": adapter}
        if adapter not in ("command", "python", "socket"):
            shape["required"] = [*shape.get("required", []), "use"]
        definitions[f"client-{adapter}"] = shape
        shapes.append(_reference(f"client-{adapter}"))
    return {"type": "object", "anyOf": shapes}


def _object(cls: type, prefix: str, definitions: Schema) -> Schema:
    """The schema of one dataclass; those inside it go into `definitions`, each with the prefix."""
    whole = _draft7(typed.adapter(cls).json_schema(ref_template=f"#/definitions/{prefix}{{model}}"))
    own = whole["items"][0]["$ref"].removeprefix(f"#/definitions/{prefix}")
    inner = whole["$defs"]
    found: Schema = inner.pop(own)
    definitions.update({f"{prefix}{name}": value for name, value in inner.items()})
    return found


def _draft7(value: Any) -> Any:
    """pydantic speaks draft 2020-12: its `prefixItems` were `items`; titles made from names say nothing."""
    if isinstance(value, list):
        return [_draft7(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {"items" if key == "prefixItems" else key: item for key, item in value.items()}
    return {key: _draft7(item) for key, item in renamed.items() if key != "title" or isinstance(item, dict)}
