"""Fields are checked strictly, and an error names field, value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from rtvc.control.fields import Field, check_fields, object_schema, shown
from rtvc.control.requests import REQUESTS
from rtvc.control.wire import RequestError, Status

FIELDS = (
    Field("name", "text", "a name", longest=5),
    Field("kind", "text", optional=True, choices=("a", "b")),
    Field("share", "number", optional=True, minimum=0, maximum=1),
    Field("count", "integer", optional=True),
    Field("on", "boolean", optional=True),
    Field("value", "value", optional=True),
    Field("values", "values", optional=True),
)


def test_what_fits_passes() -> None:
    data = {"name": "x", "kind": "a", "share": 1, "count": 2.0, "on": False, "value": "dsp", "values": {"a": 1}}
    assert check_fields(FIELDS, data, "Try") == data
    assert check_fields((), None, "Try") == {}


@pytest.mark.parametrize(
    ("data", "status", "comment"),
    [
        ([], Status.INVALID_REQUEST_FIELD_TYPE, "requestData = []: must be an object"),
        ({}, Status.MISSING_REQUEST_FIELD, "Try needs name: a name"),
        ({"name": "x", "size": 1}, Status.INVALID_REQUEST_FIELD, "'size' is no field of Try; it takes name, kind"),
        ({"name": 1}, Status.INVALID_REQUEST_FIELD_TYPE, "name = 1: must be text"),
        ({"name": ""}, Status.REQUEST_FIELD_EMPTY, "name = ''"),
        ({"name": "xxxxxx"}, Status.REQUEST_FIELD_OUT_OF_RANGE, "6 characters: at most 5"),
        ({"name": "x", "kind": "c"}, Status.REQUEST_FIELD_OUT_OF_RANGE, "kind = 'c': one of a, b"),
        ({"name": "x", "share": 1.5}, Status.REQUEST_FIELD_OUT_OF_RANGE, "share = 1.5: must lie in 0..1"),
        ({"name": "x", "share": True}, Status.INVALID_REQUEST_FIELD_TYPE, "share = True: must be a number"),
        ({"name": "x", "count": 1.5}, Status.INVALID_REQUEST_FIELD_TYPE, "count = 1.5: must be a whole number"),
        ({"name": "x", "on": 1}, Status.INVALID_REQUEST_FIELD_TYPE, "on = 1: must be true or false"),
        ({"name": "x", "value": None}, Status.INVALID_REQUEST_FIELD_TYPE, "value = None"),
        ({"name": "x", "values": {}}, Status.REQUEST_FIELD_EMPTY, "values = {}"),
        ({"name": "x", "values": {"a": []}}, Status.INVALID_REQUEST_FIELD_TYPE, "values = {'a': []}"),
    ],
)
def test_what_does_not_fit_is_refused(data: Any, status: Status, comment: str) -> None:
    with pytest.raises(RequestError) as error:
        check_fields(FIELDS, data, "Try")
    assert error.value.status == status
    assert comment in error.value.comment


def test_long_values_are_shown_short() -> None:
    assert len(shown("x" * 1000)) <= 60


def test_schemas_say_the_same() -> None:
    schema = object_schema(FIELDS, strict=True)
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["share"] == {"type": "number", "minimum": 0, "maximum": 1}
    for request in REQUESTS.values():
        assert request.doc
        assert all(field.name for field in request.takes)
