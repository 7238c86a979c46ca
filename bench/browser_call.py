"""A real WebRTC call between two pages of Chromium: a file as the microphone of one, what the other hears as samples.

The caller's microphone is Chromium's own file capture, so the sound goes through all that a call does to it: the
capture pipeline with echo canceller, noise suppressor and gain control (`processed`), Opus at Chromium's own rate, RTP
over UDP of this machine, jitter buffer, concealment, playout. Needs Playwright and Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

RATE_HZ = 48_000
LEAD_S = 3.0  # silence before the sound, for the call to be set up in
TAKE_S = 1.0
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required", "--disable-features=WebRtcHideLocalIpsWithMdns",
)  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<audio id="heard" autoplay muted></audio>
<script>
const RECORDER = `registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([[x]]) { if (x) this.port.postMessage(x.slice()); return true; } });`;
const pc = new RTCPeerConnection();
let blocks = [];
const gathered = () => new Promise((done) => {
  const look = () => pc.iceGatheringState === "complete" && done(pc.localDescription.sdp);
  pc.onicegatheringstatechange = look;
  look();
});
async function call(processed) {
  const audio = { echoCancellation: processed, noiseSuppression: processed, autoGainControl: processed };
  const mic = await navigator.mediaDevices.getUserMedia({ audio });
  for (const track of mic.getTracks()) pc.addTrack(track, mic);
  await pc.setLocalDescription(await pc.createOffer());
  return gathered();
}
async function answer(sdp) {
  pc.ontrack = ({ streams }) => record(streams[0]);
  await pc.setRemoteDescription({ type: "offer", sdp });
  await pc.setLocalDescription(await pc.createAnswer());
  return gathered();
}
const answered = (sdp) => pc.setRemoteDescription({ type: "answer", sdp });
async function record(stream) {
  document.getElementById("heard").srcObject = stream; // nothing is decoded unless something plays
  const context = new AudioContext({ sampleRate: 48000 });
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" })));
  const mono = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" };
  const recorder = new AudioWorkletNode(context, "recorder", mono);
  recorder.port.onmessage = ({ data }) => blocks.push(data);
  context.createMediaStreamSource(stream).connect(recorder);
}
function take() {
  const all = new Int16Array(blocks.reduce((n, block) => n + block.length, 0));
  let at = 0;
  for (const block of blocks.splice(0)) for (const x of block) all[at++] = Math.max(-1, Math.min(1, x)) * 32767;
  let text = "";
  const bytes = new Uint8Array(all.buffer);
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}
async function stats() {
  const all = [...(await pc.getStats()).values()];
  const rtp = all.find(({ type }) => type === "inbound-rtp");
  const stretched = rtp.removedSamplesForAcceleration + rtp.insertedSamplesForDeceleration;
  return { concealed: rtp.concealedSamples, received: rtp.totalSamplesReceived, lost: rtp.packetsLost, stretched };
}
</script>"""


@dataclass(frozen=True)
class Called:
    """What the other side heard: y float32[n] at 48 kHz, in which x begins at lag_s.

    concealed and stretched are the shares that the receiver made up, and took out or put in to keep its buffer filled.
    """

    y: NDArray[np.float32]
    lag_s: float
    concealed: float
    stretched: float
    packets_lost: int


def calls(sounds: Sequence[NDArray[np.float32]], processed: bool) -> list[Called]:
    """Call once with each sound (float32[n] at 48 kHz), all at the same time; return what was heard."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        raise FileNotFoundError("no Chromium on this machine (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, contextlib.ExitStack() as stack:
        pages = []
        for number, x in enumerate(sounds):
            path = Path(folder) / f"{number}.wav"
            sf.write(path, np.concatenate([np.zeros(round(LEAD_S * RATE_HZ), np.float32), x]), RATE_HZ)
            flags = [*FLAGS, f"--use-file-for-fake-audio-capture={path}%noloop"]
            browser = playwright.chromium.launch(
                executable_path=chromium, args=flags, ignore_default_args=["--mute-audio"]
            )
            stack.callback(browser.close)
            pages.append([_page(browser), _page(browser)])
        for caller, callee in pages:
            offer = caller.evaluate("processed => call(processed)", processed)
            caller.evaluate("sdp => answered(sdp)", callee.evaluate("sdp => answer(sdp)", offer))
        heard: list[list[bytes]] = [[] for _ in pages]
        until_s = time.monotonic() + max(map(len, sounds)) / RATE_HZ + LEAD_S + 1.0
        while time.monotonic() < until_s:
            time.sleep(TAKE_S)
            for taken, (_, callee) in zip(heard, pages, strict=True):
                taken.append(base64.b64decode(callee.evaluate("take()")))
        stats = [callee.evaluate("stats()") for _, callee in pages]
    return [
        _called(x, np.frombuffer(b"".join(taken), np.int16).astype(np.float32) / 32767, stat)
        for x, taken, stat in zip(sounds, heard, stats, strict=True)
    ]


def _page(browser: Any) -> Any:
    page = browser.new_context(permissions=["microphone"]).new_page()
    page.route("**/*", lambda route: route.fulfill(body=PAGE, content_type="text/html; charset=utf-8"))
    page.goto("http://localhost/call")
    return page


def _called(x: NDArray[np.float32], y: NDArray[np.float32], stats: dict[str, int]) -> Called:
    """Find x in y by the envelopes of both, in steps of 10 ms."""
    a, b = (_envelope(z) for z in (x, y))
    n = len(a) + len(b)
    match = np.fft.irfft(np.conj(np.fft.rfft(a, n)) * np.fft.rfft(b, n), n)
    lag = int(np.argmax(match))
    lag = lag - n if lag > n // 2 else lag
    received = max(stats["received"], 1)
    return Called(y, lag / 100, stats["concealed"] / received, stats["stretched"] / received, stats["lost"])


def _envelope(x: NDArray[np.float32]) -> NDArray[np.float64]:
    frames = x[: len(x) // 480 * 480].reshape(-1, 480)
    envelope = np.log(np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1)) + 1e-3)
    return np.asarray(envelope - envelope.mean())
