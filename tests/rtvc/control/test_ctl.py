"""`rtvc ctl` and `rtvc control docs`, as a shell uses them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from rtvc.cli import main
from rtvc.control.documents import asyncapi, markdown, schema
from rtvc.control.events import EVENTS
from rtvc.control.requests import REQUESTS
from rtvc.engine.params import PARAMS
from tests.rtvc.control.served import Served
from tests.waiting import wait_for


@pytest.fixture
def ctl(still: Served, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*argv: str) -> tuple[int, str, str]:
        code = main(["ctl", "--url", still.url, *argv])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_parameters(ctl: Any) -> None:
    code, out, _ = ctl("--json", "set", "pitch.semitones=4", "level.match=on", "pitch.mode=note")
    assert code == 0
    assert json.loads(out)["values"] == {"pitch.semitones": 4.0, "level.match": True, "pitch.mode": "note"}
    assert ctl("get", "pitch.semitones")[1].split() == ["pitch.semitones", "4", "semitones"]
    assert json.loads(ctl("--json", "get")[1]).keys() == PARAMS.keys()
    assert json.loads(ctl("--json", "nudge", "pitch.semitones", "-1")[1])["value"] == 3.0
    assert json.loads(ctl("--json", "toggle", "level.match")[1])["value"] is False
    assert ctl("ramp", "breath.amount", "0.5", "10", "--smooth")[0] == 0
    assert ctl("undo")[0] == 0 and ctl("redo")[0] == 0


def test_voices_presets_mute_and_panic(ctl: Any, still: Served) -> None:
    assert "feminine" in ctl("preset")[1] and "emma" in ctl("voice")[1]
    assert ctl("preset", "deep")[0] == 0 and still.desk.current_preset == "deep"
    assert ctl("voice", "silence")[0] == 0
    assert ctl("mute")[1].split()[:2] == ["muted", "on"]
    assert ctl("mute", "off")[1].split()[:2] == ["muted", "off"]
    assert ctl("panic")[0] == 0 and still.desk.sound.panic
    assert ctl("panic", "off")[0] == 0 and not still.desk.sound.panic
    assert "stopped" in ctl("status")[1]
    assert "provider_reason      no other was tried" in ctl("status")[1].splitlines()
    assert json.loads(ctl("--json", "raw", "GetParam", '{"id": "voice.name"}')[1])["value"] == "silence"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["set", "pitch.semitones=99"], "must lie in -24..24 semitones"),
        (["set", "pitch.semitones"], "write PARAM=VALUE"),
        (["set", "pitch=1"], "no parameter 'pitch'"),
        (["get", "pitch"], "no parameter 'pitch'"),
        (["preset", "nothing"], "no such preset"),
        (["raw", "GetParam", "{"], "is not JSON"),
        (["record", "start"], "Start it first"),
        (["flight", "--no-sound"], "Start it first"),
        (["nudge", "pitch.semitones", "nan"], "only finite numbers"),
    ],
)
def test_what_goes_wrong_is_exit_code_1_with_a_reason(ctl: Any, argv: list[str], said: str) -> None:
    code, out, err = ctl(*argv)
    assert (code, out) == (1, "")
    assert err.startswith("rtvc: ") and said in err


def test_no_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "--url", "ws://127.0.0.1:9/", "status"]) == 1
    assert "does `rtvc live` run there?" in capsys.readouterr().err


def test_watch_prints_events(ctl: Any, still: Served) -> None:
    def cut() -> None:  # in the server's loop, as all of this
        for client in still.server._clients:
            client.socket.transport.abort()

    def act() -> None:
        with still.control() as control:
            wait_for(lambda: still.desk.audience.count() == 2, "the watcher")
            control.mute()
        clients = still.server._clients
        wait_for(lambda: len(clients) == 1 and not any(c.outbox.waiting_bytes for c in clients), "what it is told")
        still.desk._soon(cut)

    thread = threading.Thread(target=act)
    thread.start()
    code, out, _ = ctl("watch", "MuteChanged")
    thread.join()
    assert code == 1
    assert [json.loads(line) for line in out.splitlines()] == [{"event": "MuteChanged", "muted": True}]


def test_the_documents_name_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control", "docs"]) == 0
    text = capsys.readouterr().out
    assert text == markdown()
    for name in (*REQUESTS, *EVENTS, *PARAMS):
        assert name in text
    document = asyncapi("ws://127.0.0.1:4466/")
    assert set(document["components"]["messages"]) == {*REQUESTS, *(f"{name}Response" for name in REQUESTS), *EVENTS}
    assert document["servers"]["rtvc"] == {"host": "127.0.0.1:4466", "protocol": "ws"}
    for operation in document["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].rpartition("/")[2] in document["channels"]["control"]["messages"]
    json.dumps(schema(), allow_nan=False)


def test_the_guide_names_only_what_there_is() -> None:
    import re

    guide = Path(main.__code__.co_filename).with_name("control").joinpath("GUIDE.md").read_text("utf-8")
    for name in re.findall(r"`([A-Z][A-Za-z]+)`", guide):
        assert name in REQUESTS or name in EVENTS, name
    for verb in re.findall(r"rtvc ctl ([a-z]+)", guide):
        with pytest.raises(SystemExit) as end:
            main(["ctl", verb, "--help"])
        assert end.value.code == 0
