"""The panel against the real thing, in real Chromium: `rtvc live` on simulated devices, its engine and its server.

The robot preset speaks on one note, so the pitch that goes out is known and can be measured in a recording.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from rtvc.control.tokens import TokenFile
from rtvc.control.wire import Role
from rtvc.flight_bundle import read_bundle
from tests.rtvc.control.panel.conftest import Pages
from tests.rtvc.control.panel.steps import entry, middle, slider, until
from tests.rtvc.control.served import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

START_S = 120.0  # a first start compiles the kernels
SPEECH_S = 3.0  # one second of the voice may be nearly all pause, and then has no note to measure


class Live:
    """`rtvc live` in a process of its own, with settings of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.url = ""
        self._process = self._begin(0)

    def _begin(self, port: int) -> subprocess.Popen[str]:
        live = (sys.executable, "-m", "rtvc", "live")
        command = (*live, "--simulated", "--preset", "robot", "--control-port", str(port))
        homes = {f"XDG_{name}_HOME": str(self._home / name.lower()) for name in ("CONFIG", "STATE", "DATA")}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | homes)
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            assert process.stderr
            for line in process.stderr:
                lines.put(line)

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        said = ""
        while not (found := re.search(r"panel: (\S+)", said)):
            try:
                said += lines.get(timeout=START_S)
            except queue.Empty:
                raise AssertionError(f"rtvc live told no address: {said}") from None
        self.url = found[1]
        return process

    def end(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._reader.join(5)
        assert self._process.stderr
        self._process.stderr.close()

    def again(self) -> None:
        """Start it again on the same port."""
        self._process = self._begin(int(self.url.rstrip("/").rpartition(":")[2]))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if sys.platform == "win32":
        pytest.skip("Windows ends a process without its clean-up")
    live = Live(tmp_path_factory.mktemp("live"))
    yield live
    live.end()


def record(page: Page, seconds: float = SPEECH_S) -> Path:
    """Record what goes out by the panel's button; return the file."""
    page.click("#record")
    until(lambda: page.get_attribute("#record", "aria-pressed") == "true", page)
    page.wait_for_timeout(1000 * seconds)
    page.click("#record")
    until(lambda: "Saved" in page.locator("#record-note").inner_text(), page)
    return Path(page.locator("#record-note").inner_text().partition(" in ")[2])


def pitch(file: Path) -> float:
    """Return the note of a monotone recording in Hz: the first clear peak of its autocorrelation."""
    x, rate_hz = soundfile.read(file, dtype="float64")
    spectrum = np.fft.rfft(x, 2 * len(x))
    likeness = np.fft.irfft(abs(spectrum) ** 2)
    lags = np.arange(rate_hz // 400, rate_hz // 60)
    best = likeness[lags].max()
    tops = lags[(likeness[lags] >= likeness[lags - 1]) & (likeness[lags] >= likeness[lags + 1])]
    return float(rate_hz / tops[likeness[tops] > 0.85 * best][0])


def test_a_slider_changes_the_pitch_that_goes_out(pages: Pages, live: Live, pictures: Path) -> None:
    page = pages.open(live.url, height=1100)
    until(lambda: page.locator("#state").inner_text() == "Running", page)
    assert pitch(record(page)) == pytest.approx(110, rel=0.01)
    x, y = middle(slider(page, "pitch.target_hz"))
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 10, y, steps=8)
    page.mouse.up()
    shown = float(entry(page, "pitch.target_hz").input_value())
    assert 190 < shown < 230
    assert pitch(record(page)) == pytest.approx(shown, rel=0.01)
    slider(page).press("PageDown")
    until(lambda: entry(page).input_value() == "-5.0", page)
    assert pitch(record(page)) == pytest.approx(shown * 2 ** (-5 / 12), rel=0.01)
    page.screenshot(path=pictures / "live.png")
    page.keyboard.press("Control+z")
    until(lambda: entry(page).input_value() == "0.0", page)


def test_panic_is_silence_and_voices_switch(pages: Pages, live: Live) -> None:
    page = pages.open(live.url)
    assert np.abs(soundfile.read(record(page))[0]).max() > 0.05
    page.click("#panic")
    page.wait_for_selector("[data-banner=panic]")
    page.wait_for_timeout(100)
    assert np.abs(soundfile.read(record(page, 0.6))[0]).max() < 1e-4
    page.click("#panic")
    page.wait_for_selector("[data-banner=panic]", state="detached")
    page.click("#voices >> text=Silence")
    until(lambda: page.locator('.voice[aria-pressed="true"]').inner_text().startswith("Silence"), page)
    page.wait_for_timeout(200)
    assert np.abs(soundfile.read(record(page, 0.6))[0]).max() < 1e-3
    page.click("#voices >> text=DSP voice")
    until(lambda: page.locator('.voice[aria-pressed="true"]').inner_text().startswith("DSP"), page)


def test_the_last_minute_is_saved_by_a_button(pages: Pages, live: Live, pictures: Path) -> None:
    page = pages.open(live.url, height=1100)
    until(lambda: page.is_enabled("#flight"), page)
    page.click("#flight")
    until(lambda: page.is_visible("#flight-note"), page)
    said = page.locator("#flight-note").inner_text()
    assert re.match(r"The last \d+ s are in /.*\.zip$", said)
    file = Path(said.partition(" in ")[2])
    flight = read_bundle(file).flight
    assert len(flight.y) > 0 and len(flight.blocks) > 0
    file.unlink()
    until(lambda: "Measured by your voice" in page.locator("#engine").inner_text(), page)
    page.locator("#engine").scroll_into_view_if_needed()
    page.screenshot(path=pictures / "flight.png")


def test_tokens_and_roles_of_the_real_server(pages: Pages, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    operator, viewer = tokens.add("deck", Role.OPERATOR), tokens.add("friend", Role.VIEWER)
    with served(tmp_path, tokens=tokens) as there:
        page = pages.open_unconnected(f"http://127.0.0.1:{there.server.port}/")
        for token in ("wrong", operator):
            page.fill("#token", token)
            page.keyboard.press("Enter")
            page.wait_for_selector("text=That token was not accepted." if token == "wrong" else "#groups .row")
        slider(page).press("ArrowRight")
        until(lambda: there.desk.sound.value("pitch.semitones") == 1, page)
        assert page.locator("#device-capture").is_disabled()  # that needs the role admin
        page.evaluate("(token) => sessionStorage.setItem('rtvc.token', token)", viewer)
        page.reload()
        page.wait_for_selector("[data-banner=viewer]")
        assert page.locator("#panic").is_disabled()
        pages.close()


def test_the_server_goes_and_comes_back_and_two_pages_agree(pages: Pages, live: Live) -> None:
    first, second = pages.open(live.url), pages.open(live.url, 390, 844)
    until(lambda: entry(first).input_value(), first)
    before = float(entry(first).input_value())
    slider(first).press("PageUp")
    until(lambda: entry(second).input_value() == f"{before + 5.0:.1f}", second)
    second.click("#mute")
    until(lambda: first.get_attribute("#mute", "aria-pressed") == "true", first)
    live.end()
    first.wait_for_selector("[data-banner=offline]")
    assert first.locator("#mute").is_disabled()
    live.again()
    first.wait_for_selector("[data-banner=offline]", state="detached", timeout=30_000)
    until(lambda: first.locator("#mute").is_enabled() and entry(first).input_value() == "0.0", first)
    assert all("WebSocket" in text for text in pages.complaints)  # the browser's own words about it
    pages.complaints.clear()
