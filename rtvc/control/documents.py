"""The protocol as documents, made from the tables: JSON Schema, AsyncAPI 3.0, and Markdown (`rtvc control docs`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rtvc import __version__
from rtvc.engine.params import PARAMS

from .events import EVENTS, event_schemas
from .fields import Field
from .requests import REQUESTS, answer_fields, param_entries, request_schemas, values_schema
from .wire import ALL_EVENTS, DEFAULT_PORT, JSON_SUBPROTOCOL, MSGPACK_SUBPROTOCOL, CloseCode, Intent, Status


def schema() -> dict[str, Any]:
    """Return JSON Schemas of parameters, requests and events."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rtvc remote control",
        "version": __version__,
        "params": param_entries(),
        "values": values_schema(),
        "requests": request_schemas(),
        "events": event_schemas(),
    }


def asyncapi(url: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of the server at url (ws:// or wss://)."""
    scheme, _, rest = url.partition("://")
    messages: dict[str, Any] = {}
    for name, entry in request_schemas().items():
        request = {"requestType": {"const": name}, "requestId": {"type": "string"}, "requestData": entry["requestData"]}
        messages[name] = _message(6, request, ["requestType", "requestId"], entry["description"])
        answer = {
            "requestType": {"const": name},
            "requestId": {"type": "string"},
            "requestStatus": {"type": "object"},
            "responseData": entry["responseData"],
        }
        messages[f"{name}Response"] = _message(7, answer, ["requestType", "requestId", "requestStatus"], "")
    for name, entry in event_schemas().items():
        event = {
            "eventType": {"const": name},
            "eventIntent": {"const": entry["eventIntent"]},
            "eventData": entry["eventData"],
        }
        messages[name] = _message(5, event, ["eventType", "eventIntent"], entry["description"])
    channel = {"address": "/", "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages}}
    operations: dict[str, Any] = {}
    for name in REQUESTS:
        here = {"$ref": "#/channels/control"}
        operations[name] = {
            "action": "receive",
            "channel": here,
            "messages": [{"$ref": f"#/channels/control/messages/{name}"}],
            "reply": {"channel": here, "messages": [{"$ref": f"#/channels/control/messages/{name}Response"}]},
        }
    for name in EVENTS:
        ref = {"$ref": f"#/channels/control/messages/{name}"}
        operations[f"on{name}"] = {"action": "send", "channel": {"$ref": "#/channels/control"}, "messages": [ref]}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "rtvc remote control", "version": __version__, "description": _INTRODUCTION},
        "servers": {"rtvc": {"host": rest.rstrip("/"), "protocol": scheme}},
        "channels": {"control": channel},
        "operations": operations,
        "components": {"messages": messages},
    }


def _message(op: int, data: dict[str, Any], required: list[str], summary: str) -> dict[str, Any]:
    inner = {"type": "object", "properties": data, "required": required}
    payload = {"type": "object", "properties": {"op": {"const": op}, "d": inner}, "required": ["op", "d"]}
    return {"payload": payload} | ({"summary": summary} if summary else {})


_INTRODUCTION = f"""\
The protocol is obs-websocket 5 (RPC version 1): its messages, authentication, close codes and batches, so client
libraries for it connect unchanged. The requests and events are rtvc's own. Address: ws://127.0.0.1:{DEFAULT_PORT}/
unless told otherwise; subprotocols {JSON_SUBPROTOCOL} (also without any) and {MSGPACK_SUBPROTOCOL}.

Every answer carries `rev`, the revision of the parameters. Every answer to a write carries `applied_at`, the engine's
sample clock (48 kHz) from which the change sounds, null while no engine runs. All writes of a batch are one revision
and sound from the same block on."""


def markdown() -> str:
    """Return the reference of the protocol."""
    lines = [
        "# rtvc remote control: the protocol",
        "",
        "Made by `rtvc control docs` from the program's own tables.",
        "",
    ]
    lines += [_INTRODUCTION, "", "## Parameters", "", "| id | values | default | what |", "|---|---|---|---|"]
    for param in PARAMS.values():
        span = f"{param.minimum:g}..{param.maximum:g} {param.unit}".strip()
        allowed = ", ".join(param.choices) or ("true, false" if param.switch else span)
        default = json.dumps(param.from_number(param.default))
        lines.append(f"| `{param.id}` | {allowed} | {default} | {param.doc} |")
    lines += ["", "## Requests", ""]
    for request in REQUESTS.values():
        lines += [f"### {request.name}", "", f"{request.doc}. Role: {request.role.word}.", ""]
        lines += _field_table("takes", request.takes) + _field_table("answers", answer_fields(request))
    lines += [
        "## Events",
        "",
        f"Without eventSubscriptions a client gets all but the high-volume ones ({ALL_EVENTS}).",
        "",
    ]
    lines += ["| bit | events |", "|---|---|"]
    for intent in Intent:
        names = ", ".join(event.name for event in EVENTS.values() if event.intent == intent)
        lines.append(f"| 1 << {int(intent).bit_length() - 1} {intent.name.capitalize()} | {names} |")
    lines.append("")
    for event in EVENTS.values():
        lines += [f"### {event.name}", "", f"{event.doc}.", "", *_field_table("tells", event.tells)]
    lines += ["## Codes", "", "| RequestStatus | |", "|---|---|"]
    lines += [f"| {int(status)} | {_words(status.name)} |" for status in Status]
    lines += ["", "| close code | |", "|---|---|", *(f"| {int(code)} | {_words(code.name)} |" for code in CloseCode)]
    return "\n".join(lines) + "\n"


def _field_table(title: str, fields: Iterable[Field]) -> list[str]:
    rows = [
        f"| `{field.name}`{' (optional)' if field.optional else ''} | {_kind(field)} | {field.doc} |"
        for field in fields
    ]
    return [f"| {title} | | |", "|---|---|---|", *rows, ""] if rows else []


def _kind(field: Field) -> str:
    if field.choices:
        return ", ".join(field.choices)
    if field.minimum is not None and field.maximum is not None:
        return f"{field.kind} {field.minimum:g}..{field.maximum:g}"
    return f"{field.kind} or null" if field.nullable else field.kind


def _words(name: str) -> str:
    return name.replace("_", " ").lower()
