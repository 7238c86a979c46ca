"""Fields of requests, responses and events: declared once, checked strictly, told as JSON Schema.

An error names the field, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .wire import RequestError, Status

Kind = Literal["text", "number", "integer", "boolean", "value", "values", "object", "list", "any"]

_SCHEMA_TYPE: dict[str, Any] = {
    "text": "string",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "value": ["number", "boolean", "string"],
    "values": "object",
    "object": "object",
    "list": "array",
}
_WORDS = {
    "text": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "value": "a number, true or false, or text",
    "values": "an object of values by parameter id",
}
_SHOWN = 60


@dataclass(frozen=True)
class Field:
    """One field. `value` is a parameter's value, `values` maps parameter ids to values, text has 1..longest letters."""

    name: str
    kind: Kind
    doc: str = ""
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    longest: int = 200
    nullable: bool = False

    def check(self, value: object) -> None:
        """Raise RequestError unless value may stand in this field."""
        if not self._fits(value):
            raise RequestError(
                Status.INVALID_REQUEST_FIELD_TYPE, f"{self.name} = {shown(value)}: must be {_WORDS[self.kind]}"
            )
        if isinstance(value, str):
            self._check_text(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            low, high = self.minimum, self.maximum
            if (low is not None and value < low) or (high is not None and value > high):
                span = f"in {low:g}..{high:g}" if low is not None and high is not None else f"at least {low:g}"
                raise RequestError(Status.REQUEST_FIELD_OUT_OF_RANGE, f"{self.name} = {value}: must lie {span}")
        elif isinstance(value, dict) and not value:
            raise RequestError(Status.REQUEST_FIELD_EMPTY, f"{self.name} = {{}}: name at least one")

    def _fits(self, value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "text":
            return isinstance(value, str)
        if self.kind == "integer":
            return number and float(value) == int(value)  # type: ignore[arg-type, call-overload]
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "values":
            return isinstance(value, dict) and all(isinstance(v, bool | int | float | str) for v in value.values())
        return number or (self.kind == "value" and isinstance(value, bool | str))

    def _check_text(self, value: str) -> None:
        if not value:
            raise RequestError(Status.REQUEST_FIELD_EMPTY, f"{self.name} = '': must not be empty")
        if len(value) > self.longest:
            what = f"{self.name} has {len(value)} characters: at most {self.longest}"
            raise RequestError(Status.REQUEST_FIELD_OUT_OF_RANGE, what)
        if self.choices and value not in self.choices:
            allowed = ", ".join(self.choices)
            raise RequestError(Status.REQUEST_FIELD_OUT_OF_RANGE, f"{self.name} = {shown(value)}: one of {allowed}")

    def schema(self) -> dict[str, Any]:
        """Return the field as JSON Schema."""
        schema: dict[str, Any] = {}
        if self.kind != "any":
            kind = _SCHEMA_TYPE[self.kind]
            schema["type"] = [*([kind] if isinstance(kind, str) else kind), "null"] if self.nullable else kind
        if self.doc:
            schema["description"] = self.doc
        if self.kind == "text":
            schema |= {"enum": list(self.choices)} if self.choices else {"minLength": 1, "maxLength": self.longest}
        if self.kind == "values":
            schema |= {"additionalProperties": {"type": _SCHEMA_TYPE["value"]}, "minProperties": 1}
        for name, bound in (("minimum", self.minimum), ("maximum", self.maximum)):
            if bound is not None:
                schema[name] = bound
        return schema


def check_fields(fields: Sequence[Field], data: object, request: str) -> dict[str, Any]:
    """Return data (a request's requestData, None counts as empty) if it holds what fields say and nothing else.

    Raises RequestError.
    """
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise RequestError(Status.INVALID_REQUEST_FIELD_TYPE, f"requestData = {shown(data)}: must be an object")
    known = {field.name: field for field in fields}
    for name in data:
        if name not in known:
            takes = ", ".join(known) or "no field"
            raise RequestError(Status.INVALID_REQUEST_FIELD, f"{name!r:.60} is no field of {request}; it takes {takes}")
    for field in fields:
        if field.name in data:
            field.check(data[field.name])
        elif not field.optional:
            raise RequestError(Status.MISSING_REQUEST_FIELD, f"{request} needs {field.name}: {field.doc}")
    return data


def object_schema(fields: Sequence[Field], strict: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of an object with these fields; strict allows no others."""
    schema: dict[str, Any] = {"type": "object", "properties": {field.name: field.schema() for field in fields}}
    if required := [field.name for field in fields if not field.optional]:
        schema["required"] = required
    if strict:
        schema["additionalProperties"] = False
    return schema


def shown(value: object) -> str:
    """Return value as an error shows it, cut short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
