"""Messages that nobody should send: made from right ones by chance, from a seeded generator."""

from __future__ import annotations

import json
import random
from typing import Any

import msgpack

from rtvc.control.codec import Data
from rtvc.control.events import EVENTS
from rtvc.control.requests import REQUESTS
from rtvc.engine.params import PARAMS, TIMBRES

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63 - 1, -(2**63), 0.5, -0.0, 1e-300, 1e308, "", " ", "0", "on", "ä漢",
    "x" * 300, "../../etc/passwd", "\x00", "${x}", [], {}, [[]], {"": {}}, [1, 2, 3], {"id": "x"}, "NaN", "-24",
)  # fmt: skip
WORDS = (*PARAMS, *TIMBRES, "dsp", "own", "silence", "deep", "feminine", "natural", *EVENTS, "linear", "smooth")


class Fuzzer:
    """Draws messages."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self) -> Data:
        """Return one frame's payload for a JSON session (text, or now and then bytes)."""
        choice = self._random.random()
        if choice < 0.1:
            return self._garbage()
        text = json.dumps(self.structure(), ensure_ascii=self._random.random() < 0.5)
        if choice < 0.3:
            return self._spoilt(text)
        return msgpack.packb({"op": 1}) if choice < 0.31 else text  # type: ignore[no-any-return]

    def structure(self) -> Any:
        """Return a message as data, most of it of the right form."""
        draw = self._random
        op = draw.choice((1, 3, 6, 6, 6, 6, 6, 8, 8)) if draw.random() < 0.95 else draw.choice(ODD)
        data: dict[str, Any]
        if op == 8:
            entries = [self._request() for _ in range(draw.randrange(6))]
            data = {"requestId": "b", "requests": entries, "executionType": draw.choice((0, 1, 2, 0, 1, 2, 7, None))}
            data["haltOnFailure"] = draw.choice((True, False, False))
        elif op in (1, 3):
            data = {"rpcVersion": draw.choice((1, 1, 1, 2)), "eventSubscriptions": draw.choice((0, 63, 1 << 16, -1))}
        else:
            data = self._request()
        return self._mutated({"op": op, "d": data})

    def _request(self) -> dict[str, Any]:
        draw = self._random
        request = draw.choice(list(REQUESTS.values()))
        fields = {}
        for field in request.takes:
            if not field.optional or draw.random() < 0.6:
                fields[field.name] = self._value(field.kind)
        return {"requestType": request.name, "requestId": draw.choice(("1", 5, "")), "requestData": fields}

    def _value(self, kind: str) -> Any:
        draw = self._random
        if draw.random() < 0.2:
            return draw.choice(ODD)
        if kind == "values":
            return {draw.choice(WORDS): self._value("value") for _ in range(draw.randrange(4))}
        if kind == "text":
            return draw.choice(WORDS)
        if kind == "boolean":
            return draw.random() < 0.5
        return draw.choice((draw.uniform(-30, 30), draw.uniform(0, 1), draw.randrange(-100, 1000), draw.choice(WORDS)))

    def _mutated(self, value: Any, depth: int = 0) -> Any:
        draw = self._random
        if draw.random() < 0.03:
            return draw.choice(ODD)
        if isinstance(value, dict):
            kept = {key: self._mutated(item, depth + 1) for key, item in value.items() if draw.random() > 0.02}
            if draw.random() < 0.02:
                kept[draw.choice(WORDS)] = draw.choice(ODD)
            return kept
        if isinstance(value, list):
            return [self._mutated(item, depth + 1) for item in value]
        return value

    def _garbage(self) -> Data:
        draw = self._random
        if draw.random() < 0.3:
            return draw.randbytes(draw.randrange(60))
        if draw.random() < 0.2:
            return '{"d":' * draw.choice((5, 50, 5000)) + "1"
        return "".join(
            chr(draw.choice((draw.randrange(128), draw.randrange(0x110000)))) for _ in range(draw.randrange(80))
        )

    def _spoilt(self, text: str) -> str:
        """Return text with a few characters cut, doubled, or replaced by what JSON does not allow."""
        draw = self._random
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(text) + 1)
            piece = draw.choice(("", "NaN", "1e999", '"', "{", "]", "\\ud800", "\x00", ",", text[place : place + 20]))
            text = text[:place] + piece + text[place + draw.randrange(3) :]
        return text
