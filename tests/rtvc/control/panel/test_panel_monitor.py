"""The panel's monitor on a real sound server, in real Chromium: the headphones carry the converted voice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import rig
from tests.rtvc.control.panel.conftest import Pages
from tests.rtvc.control.panel.steps import entry, until
from tests.rtvc.control.robot import level_db, live


def test_the_switch_and_the_level_are_heard_in_the_headphones_only(
    pulseaudio: rig.Server, pages: Pages, pictures: Path
) -> None:
    pulseaudio.add_sink("headphones")
    with live(pulseaudio) as (control, url):
        page = pages.open(url, height=1200)
        call = level_db(pulseaudio, "rtvc-mic")
        page.get_by_label("Heard on").select_option("pulse:headphones")
        page.get_by_role("switch", name="Hear the voice yourself").click()
        until(lambda: "ms after the call" in page.locator("#monitor-note").inner_text(), page)
        entry(page, "monitor.level_db").fill("-12")
        entry(page, "monitor.level_db").press("Enter")
        until(lambda: control.request("GetMonitor")["level_db"] == -12, page)
        page.locator("#devices-title").scroll_into_view_if_needed()
        page.screenshot(path=pictures / "monitor-live.png")
        page.wait_for_timeout(500)
        assert level_db(pulseaudio, "headphones.monitor") == pytest.approx(call - 12, abs=1)
        page.get_by_role("switch", name="Hear the voice yourself").click()
        until(lambda: not control.request("GetMonitor")["playing"], page)
        assert level_db(pulseaudio, "headphones.monitor") < call - 60
        assert level_db(pulseaudio, "rtvc-mic") == pytest.approx(call, abs=1)
        pages.close()
