"""Client libraries of others for obs-websocket 5, unmodified: they connect, authenticate, ask by name and listen."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import obsws_python as obs
import pytest
from obsws_python.error import OBSSDKRequestError

from rtvc.control.tokens import TokenFile
from rtvc.control.wire import Role
from tests.rtvc.control.served import served
from tests.waiting import wait_for

NODE_FOLDER = Path(sys.prefix) / "node"


# a refused client of this library leaves its socket to the collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("secured", [False, True])
def test_obsws_python(tmp_path: Path, secured: bool) -> None:
    logging.getLogger("obsws_python").setLevel(logging.CRITICAL)
    tokens = TokenFile(tmp_path / "tokens.json")
    password = tokens.add("deck", Role.OPERATOR) if secured else ""
    with served(tmp_path, tokens=tokens) as there:
        given = {"host": "127.0.0.1", "port": there.server.port, "password": password, "timeout": 5}
        heard: list[Any] = []

        def on_mute_changed(data: Any) -> None:
            heard.append(("mute", data.muted))

        def on_params_changed(data: Any) -> None:
            heard.append(("params", data.values, data.by))

        with obs.ReqClient(**given) as client, obs.EventClient(**given, subs=63) as events:
            events.callback.register([on_mute_changed, on_params_changed])
            assert client.get_version().rtvc_version
            answer = client.send("SetParam", {"id": "pitch.semitones", "value": 4}, raw=True)
            assert answer["values"] == {"pitch.semitones": 4.0} and answer["rev"] == 2
            client.send("SetMute", {"muted": True})
            assert client.send("GetStatus").muted is True
            wait_for(lambda: len(heard) >= 3, "events")
            assert ("mute", True) in heard
            assert ("params", {"pitch.semitones": 4.0}, "deck#1" if secured else "local#1") in heard
            with pytest.raises(OBSSDKRequestError, match="must lie in") as refused:
                client.send("SetParam", {"id": "pitch.semitones", "value": 99})
            assert refused.value.code == 402
        if secured:
            with pytest.raises(Exception, match=r"(?i)auth|identify|4009|token"):
                obs.ReqClient(**(given | {"password": "wrong"}))
            gc.collect()


@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")
@pytest.mark.skipif(not (NODE_FOLDER / "node_modules").exists(), reason="obs-websocket-js is not installed (make test)")
@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("secured", [False, True])
def test_obs_websocket_js(tmp_path: Path, form: str, secured: bool) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    password = tokens.add("deck", Role.OPERATOR) if secured else ""
    with served(tmp_path, tokens=tokens) as there:
        script = Path(__file__).with_name("obs_client.mjs")
        done = subprocess.run(
            ["node", str(script), there.url, password, form],
            env=os.environ | {"CLIENT_FOLDER": str(NODE_FOLDER)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["hello"]["negotiatedRpcVersion"] == 1
        assert said["hello"]["role"] == ("operator" if secured else "admin")
        assert said["set"]["values"] == {"pitch.semitones": 5}
        assert said["mute"]["muted"] is True
        assert [result["requestStatus"]["result"] for result in said["batch"]] == [True, True]
        assert said["batch"][1]["responseData"]["value"] == 1.25
        assert said["refused"]["code"] == 402 and "-24..24" in said["refused"]["message"]
        assert ["MuteChanged", {"muted": True}] in said["events"]
        assert there.desk.sound.value("formant.ratio") == 1.25
