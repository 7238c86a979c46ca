"""The person's own voices at the panel, in real Chromium: against the twin server; with a real library and engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtvc.control.sound import SAME_STEP_S
from rtvc.engine.timbres import built_in_timbres
from rtvc.voices import keys
from rtvc.voices.library import Library, make_library
from tests.rtvc.control.panel.conftest import Pages, Panel
from tests.rtvc.control.panel.steps import slider, until
from tests.rtvc.voices.people import consent, person
from tests.waiting import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASSPHRASE = "correct horse battery"


def pressed(page: Page) -> str:
    return page.locator('.voice[aria-pressed="true"]').first.inner_text()


def test_own_voices_are_a_group_with_search_filter_and_refusals(panel: Panel, pictures: Path) -> None:
    page, twin = panel.page, panel.twin
    assert page.locator("#voices-mine").count() == 0
    twin.call(lambda: twin.own("open", anna="", berta="the consent of Bella ended on 2026-11-01; ask for a new one"))
    until(lambda: page.locator("#voices-mine").is_visible(), page)
    tiles = page.locator("#voices .voice:visible")
    assert tiles.count() == 13
    assert "ended on 2026-11-01" in page.locator("#voices .voice", has_text="berta").inner_text()
    page.click("[data-filter=mine]")
    assert tiles.count() == 2
    page.fill("#voice-search", "ann")
    assert tiles.all_inner_texts()[0].startswith("anna")
    page.fill("#voice-search", "")
    page.screenshot(path=pictures / "own-voices.png")
    page.click("#voices >> text=anna")
    until(lambda: pressed(page).startswith("anna"), page)
    assert twin.requests("SwitchVoice") == [{"name": "anna"}]
    page.click("[data-filter=all]")
    page.select_option("#language", "zh")
    until(lambda: "未获同意" in page.locator("#voices").inner_text(), page)
    assert page.locator("#voices-mine").inner_text() == "我的声音库"
    page.select_option("#language", "en")


def test_an_own_voice_is_blended_with_a_built_in_one(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    twin.call(lambda: twin.own("open", anna="", carla=""))
    page.click("#voices >> text=Puck")
    until(lambda: page.locator("#blend-second option", has_text="carla").count(), page)
    page.select_option("#blend-second", "carla")
    until(lambda: twin.requests("BlendVoices") == [{"first": "puck", "second": "carla", "blend": 0.0}], page)
    slider(page, "voice.blend").press("PageUp")
    until(lambda: page.locator(".voice.second .share").inner_text() == "25 %", page)
    assert page.locator(".voice.second").inner_text().startswith("carla")
    page.click("#voices >> text=anna")
    until(lambda: pressed(page).startswith("anna"), page)
    until(lambda: page.locator("#blend-second option", has_text="carla").count() == 0, page)
    page.select_option("#blend-second", "heart")
    until(lambda: twin.values["voice.second"] == "heart" and twin.values["voice.timbre"] == "mine", page)


def test_a_locked_library_is_opened_with_its_passphrase(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    twin.call(lambda: twin.own("locked", anna=""))
    until(lambda: "are locked" in page.locator("#voices-lock").inner_text(), page)
    page.select_option("#language", "zh")
    until(lambda: "声音库已锁定" in page.locator("#voices-lock").inner_text(), page)
    page.select_option("#language", "en")
    for passphrase, opens in (("wrong", False), (PASSPHRASE, True)):
        page.click("#voices-unlock")
        page.fill("#voices-passphrase", passphrase)
        page.keyboard.press("Enter")
        if not opens:
            until(lambda: "passphrase is wrong" in page.locator("#toasts").inner_text(), page)
    until(lambda: page.locator("#voices .voice", has_text="anna").count() == 1, page)
    assert page.locator("#voices-lock").count() == 0


def test_a_voice_that_is_withdrawn_is_told(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    twin.call(lambda: twin.own("open", anna=""))
    page.click("#voices >> text=anna")
    until(lambda: pressed(page).startswith("anna"), page)

    def withdraw() -> None:
        twin.write({"voice.timbre": "heart"}, "voice", undoable=False)
        twin.put(None, "the consent of Anna was revoked; ask for a new one", "heart")

    twin.call(withdraw)
    until(lambda: "anna may not speak any more: the consent of Anna" in page.locator("#toasts").inner_text(), page)
    until(lambda: pressed(page).startswith("Heart"), page)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(keys, "SCRYPT_N", 2**10)
    vector = np.mean([timbre.vector for timbre in built_in_timbres()], axis=0).astype(np.float32)
    library = make_library(tmp_path / "data" / "rtvc" / "voices", PASSPHRASE)
    library.save(person("anna", timbre=vector, home_hz=120.0))
    library.save(person("bella-w", timbre=vector, consents=(consent("Bella", uses=("files",)),)))
    return library


@pytest.fixture
def live(tmp_path: Path, library: Library) -> Iterator[str]:
    """`rtvc live` in a process of its own beside a locked library: the panel's address."""
    command = [sys.executable, "-m", "rtvc", "live", "--simulated", "--voice", "emma", "--latency", "fast"]
    homes = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("CONFIG", "STATE", "DATA")}
    log = (tmp_path / "said").open("w+")
    with subprocess.Popen([*command, "--control-port", "0"], stderr=log, env=os.environ | homes) as process:
        try:
            yield _address(tmp_path / "said", process)
        finally:
            process.terminate()
            process.wait(30)
            log.close()


def _address(path: Path, process: subprocess.Popen[bytes]) -> str:
    def look() -> re.Match[str] | None:
        assert process.poll() is None, path.read_text()
        return re.search(r"panel: (\S+)", path.read_text())

    found = wait_for(look, "the panel's address")
    assert found
    return found[1]


def test_with_a_real_library_and_engine(live: str, pages: Pages, library: Library, tmp_path: Path) -> None:
    page = pages.open(live)
    until(lambda: page.locator("#voices-unlock").is_visible(), page)
    page.click("#voices-unlock")
    page.fill("#voices-passphrase", PASSPHRASE)
    page.keyboard.press("Enter")
    until(lambda: page.locator("#voices .voice", has_text="anna").count() == 1, page)
    assert "covers files, and not live" in page.locator("#voices .voice", has_text="bella-w").inner_text()
    page.click("#voices >> text=anna")
    until(lambda: pressed(page).startswith("anna"), page)
    page.wait_for_timeout(1000 * SAME_STEP_S)
    page.click("#voices >> text=Emma")
    until(lambda: pressed(page).startswith("Emma"), page)
    page.keyboard.press("Control+z")
    until(lambda: pressed(page).startswith("anna"), page)
    library.revoke("anna")  # as another program of the user's would
    until(lambda: "anna may not speak any more" in page.locator("#toasts").inner_text(), page)
    until(lambda: not pressed(page).startswith("anna") and not pressed(page).startswith("Emma"), page)
    assert "Your voice" not in pressed(page) and "raw" not in page.locator("#banners").inner_text().lower()
    until(lambda: page.locator("#voices .voice", has_text="anna").is_disabled(), page)
    told = (tmp_path / "said").read_text()
    assert "your own voice may not speak any more: rtvc voices list says why" in told and "nna" not in told
    log = tmp_path / "state" / "rtvc" / "control-audit.jsonl"
    until(lambda: log.exists() and library.find("anna").id in log.read_text(), page)
    assert "anna" not in log.read_text() and PASSPHRASE not in log.read_text()
