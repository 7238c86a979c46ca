"""What a person does at the panel, in real Chromium against the twin server: sliders, voices, presets, undo, keys."""

from __future__ import annotations

from pathlib import Path

from tests.rtvc.control.panel.conftest import Pages, Panel
from tests.rtvc.control.panel.steps import entry, middle, save_preset, sent, slider, until
from tests.rtvc.control.panel.twin import Twin

SEMITONES = '[data-param="pitch.semitones"]'


def test_mouse_moves_a_slider_and_the_server_hears_of_it_at_once(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    x, y = middle(slider(page))
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(1, 21):
        page.mouse.move(x + 5 * i, y)
    until(lambda: twin.values["pitch.semitones"] != 0 and entry(page).input_value() == f"{sent(twin)[-1]:.1f}", page)
    page.mouse.up()
    values = sent(twin)
    assert values == sorted(values)  # type: ignore[type-var]
    assert 14 < float(values[-1]) < 16  # type: ignore[arg-type]
    assert twin.values["pitch.semitones"] == values[-1]
    until(lambda: slider(page).get_attribute("aria-valuetext") == f"{values[-1]:.1f} semitones", page)


def test_keys_step_finely_and_widely_and_go_home(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    slider(page).focus()
    for key, value in (
        ("ArrowRight", 1), ("ArrowUp", 2), ("Shift+ArrowRight", 2.1), ("ArrowLeft", 1.1), ("PageUp", 6.1),
        ("Home", -24), ("End", 24), ("Backspace", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        until(lambda value=value: twin.values["pitch.semitones"] == value, page)  # type: ignore[misc]
    until(lambda: entry(page).input_value() == "0.0", page)


def test_shift_drags_a_tenth_as_far(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    x, y = middle(slider(page))
    page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    until(lambda: 0.5 < float(twin.values["pitch.semitones"]) < 1.5, page)


def test_double_click_and_the_reset_button_go_back_to_the_default(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    twin.call(lambda: twin.write({"pitch.semitones": 5.0, "formant.ratio": 1.3}))
    until(lambda: entry(page).input_value() == "5.0", page)
    page.locator(f"{SEMITONES} .reset").click()
    until(lambda: twin.values["pitch.semitones"] == 0, page)
    slider(page, "formant.ratio").dblclick()
    until(lambda: twin.values["formant.ratio"] == 1, page)


def test_values_can_be_typed_and_what_is_out_of_range_is_told(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    entry(page).fill("-3,5")
    entry(page).press("Enter")
    until(lambda: twin.values["pitch.semitones"] == -3.5, page)
    entry(page).fill("99")
    entry(page).press("Enter")
    until(lambda: "Pitch can be -24.0 to 24.0 st" in page.locator(".toast").inner_text(), page)
    entry(page, "breath.amount").fill("12 %")
    entry(page, "breath.amount").press("Enter")
    until(lambda: twin.values["breath.amount"] == 0.12, page)
    until(lambda: entry(page).input_value() == "-3.5", page)
    assert twin.values["pitch.semitones"] == -3.5


def test_at_most_one_write_a_frame_and_the_latest_wins(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    slider(page).evaluate(
        """(range) => {
          for (let i = 1; i <= 200; i++) {
            range.value = 5000 + 10 * i;
            range.dispatchEvent(new Event('input'));
          }
        }"""
    )
    until(lambda: twin.values["pitch.semitones"] == 9.6, page)
    assert len(sent(twin)) == 2  # the first at once, the last with the next frame


def test_a_slider_in_the_hand_is_not_moved_by_others(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    x, y = middle(slider(page))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=4)
    until(lambda: bool(sent(twin)) and entry(page).input_value() == f"{sent(twin)[-1]:.1f}", page)
    mine = entry(page).input_value()
    twin.call(lambda: twin.write({"pitch.semitones": -20.0, "formant.ratio": 1.2}))
    until(lambda: entry(page, "formant.ratio").input_value() == "1.20", page)
    until(lambda: entry(page).input_value() == mine, page)
    page.mouse.up()
    until(lambda: entry(page).input_value() == "-20.0", page)


def test_an_old_event_does_not_take_back_a_newer_answer(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    slider(page).press("ArrowRight")
    until(lambda: twin.values["pitch.semitones"] == 1, page)
    old = {"values": {"pitch.semitones": -7.0}, "rev": 1, "applied_at": 0, "by": "other", "reason": "set"}
    twin.call(lambda: twin.publish("ParamsChanged", old))
    twin.call(lambda: twin.write({"formant.ratio": 1.2}))
    until(lambda: entry(page, "formant.ratio").input_value() == "1.20", page)
    until(lambda: entry(page).input_value() == "1.0", page)


def test_choices_and_switches(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    page.locator('[data-param="pitch.mode"] label', has_text="robot").click()
    until(lambda: twin.values["pitch.mode"] == "robot", page)
    until(lambda: "No effect on one note" in page.locator('[data-param="pitch.intonation"]').inner_text(), page)
    page.locator('[data-param="level.match"] input').click()
    until(lambda: twin.values["level.match"] is False, page)


def test_parameters_that_the_panel_does_not_know_get_controls_too(twin: Twin, pages: Pages) -> None:
    echo = {"id": "echo.depth", "label": "Echo", "doc": "How deep", "choices": [], "switch": False, "ramp_ms": 20}
    twin.more_params = [echo | {"minimum": 0, "maximum": 10, "unit": "m", "default": 1, "value": 2}]
    page = pages.open(twin.url)
    until(lambda: "Echo" in page.locator("#group-echo").inner_text(), page)
    until(lambda: page.locator('[data-param="echo.depth"] .entry').input_value() == "2.00", page)


def test_voices_are_searched_filtered_switched_and_blended(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    tiles = page.locator("#voices .voice:visible")
    assert tiles.count() == 11
    page.fill("#voice-search", "em")
    assert tiles.all_inner_texts()[0].startswith("Emma")
    page.fill("#voice-search", "nobody")
    until(lambda: "No voice fits." in page.locator("#voices").inner_text(), page)
    page.fill("#voice-search", "")
    page.click("[data-filter=male]")
    assert tiles.count() == 4
    page.click("#voices >> text=Puck")
    until(lambda: page.locator('.voice[aria-pressed="true"]').inner_text().startswith("Puck"), page)
    assert twin.requests("SwitchVoice") == [{"name": "puck"}]
    until(lambda: "A neural voice speaks" in page.locator("#sound-note").inner_text(), page)
    page.select_option("#blend-second", "emma")
    slider(page, "voice.blend").press("PageUp")
    until(lambda: twin.values["voice.blend"] == 0.25 and twin.values["voice.second"] == "emma", page)
    page.click("[data-filter=all]")
    until(lambda: page.locator(".voice.second .share").inner_text() == "25 %", page)
    until(lambda: page.locator('.voice[aria-pressed="true"] .share').inner_text() == "75 %", page)


def test_presets_load_by_press_and_key_and_own_ones_are_saved_replaced_deleted(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    page.keyboard.press("2")
    pressed = page.locator('.pad[aria-pressed="true"]')
    until(lambda: pressed.count() and pressed.inner_text().split()[-1] == "Feminine", page)
    page.locator("#voice-search").press_sequentially("3m")
    page.fill("#voice-search", "")
    assert twin.requests("LoadPreset") == [{"name": "feminine"}]
    assert twin.requests("SetMute") == []
    slider(page).press("ArrowRight")
    until(lambda: "changed" in pressed.inner_text(), page)
    slider(page).press("Control+z")
    until(lambda: "changed" not in pressed.inner_text(), page)
    slider(page).press("ArrowRight")

    for again in (False, True):
        save_preset(page, twin, "My Voice", "my-voice", again)
    until(lambda: len(twin.requests("SavePreset")) == 3, page)
    assert twin.requests("SavePreset")[0] == {"name": "my-voice", "label": "My Voice"}
    until(lambda: "My Voice" in pressed.inner_text() and "changed" not in pressed.inner_text(), page)
    assert [data.get("overwrite") for data in twin.requests("SavePreset")] == [None, None, True]

    page.click("#preset-edit")
    page.select_option("#key-of-my-voice", "1")
    page.click("#preset-edit")
    page.click("h1")
    page.keyboard.press("1")
    until(lambda: twin.requests("LoadPreset")[-1] == {"name": "my-voice"}, page)
    page.click("#preset-edit")
    page.click('[aria-label="Delete My Voice"]')
    page.click("dialog button[value=yes]")
    until(lambda: "my-voice" not in twin.presets, page)
    page.click("#preset-edit")
    page.evaluate("localStorage.clear()")


def test_undo_and_redo(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    slider(page).press("ArrowRight")
    until(lambda: twin.values["pitch.semitones"] == 1, page)
    page.keyboard.press("Control+z")
    until(lambda: entry(page).input_value() == "0.0", page)
    page.click("#redo")
    until(lambda: entry(page).input_value() == "1.0", page)
    until(lambda: page.locator("#redo").is_disabled() and page.locator("#undo").is_enabled(), page)
    page.click("#undo")
    until(lambda: page.locator("#undo").is_disabled() and page.locator("#redo").is_enabled(), page)
    page.keyboard.press("Control+z")
    page.locator(".toast", has_text="That cannot be done now").wait_for()


def test_mute_panic_and_record_by_press_and_by_key(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    page.click("#mute")
    until(lambda: page.get_attribute("#mute", "aria-pressed") == "true", page)
    page.keyboard.press("m")
    until(lambda: twin.values["level.mute"] is False, page)
    page.keyboard.press("p")
    page.wait_for_selector("[data-banner=panic]")
    assert twin.panic
    until(lambda: page.locator("#state").inner_text() == "Panic", page)
    page.click("[data-banner=panic] button")
    page.wait_for_selector("[data-banner=panic]", state="detached")
    assert not twin.panic
    page.keyboard.press("?")
    page.click("#letters")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    page.click("#record")
    until(lambda: "recordings/talk-1.flac" in page.locator("#record-note").inner_text(), page)
    page.click("#record")
    until(lambda: page.locator("#record-note").inner_text().startswith("Saved 0:0"), page)
    assert twin.values["level.mute"] is False  # single keys were turned off
    page.evaluate("localStorage.clear()")


def test_devices_are_chosen(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    page.select_option("#device-capture", "mic-2")
    until(lambda: twin.devices["capture"] == "mic-2", page)
    until(lambda: page.locator("#device-capture").input_value() == "mic-2", page)


def test_a_preset_may_be_named_in_any_letters(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    for again in (False, True):
        save_preset(page, twin, "我的声音", "own-1", again)
    until(lambda: "我的声音" in "".join(page.locator("#pads .pad-name").all_inner_texts()), page)
    assert twin.presets["own-1"]["label"] == "我的声音"


def test_the_monitor_is_switched_levelled_and_moved(panel: Panel, pictures: Path) -> None:
    page, twin = panel.page, panel.twin
    page.get_by_role("switch", name="Hear the voice yourself").click()
    until(lambda: twin.monitor["on"] is True, page)
    until(lambda: "15 ms after the call" in page.locator("#monitor-note").inner_text(), page)
    level = page.get_by_role("slider", name="Monitor level")
    level.press("Home")
    until(lambda: twin.monitor["level_db"] == -60, page)
    level.press("End")
    until(lambda: twin.monitor["level_db"] == 12 and level.get_attribute("aria-valuetext") == "12.0 dB", page)
    entry(page, "monitor.level_db").fill("-7.5")
    entry(page, "monitor.level_db").press("Enter")
    until(lambda: twin.monitor["level_db"] == -7.5, page)
    page.get_by_label("Heard on").select_option("speakers")
    page.locator(".toast", has_text="cannot be opened").wait_for()
    until(lambda: page.locator("#monitor-device").input_value() == "default", page)
    page.locator(".system-column").screenshot(path=pictures / "monitor.png")
    page.locator('[data-param="monitor.level_db"] .reset').click()
    until(lambda: twin.monitor["level_db"] == 0, page)
    assert twin.values["level.mute"] is False and twin.requests("SetMute") == []
    page.keyboard.press("m")
    until(lambda: twin.values["level.mute"] is True, page)
    assert twin.monitor["on"] is True
    twin.call(lambda: twin._on_SetMonitor({"on": False, "level_db": -20.0}))  # by somebody else
    until(lambda: not page.locator("#monitor-on").is_checked(), page)
    until(lambda: entry(page, "monitor.level_db").input_value() == "-20.0", page)


def test_where_there_is_no_monitor_the_panel_says_why(twin: Twin, pages: Pages) -> None:
    twin.monitor |= {"available": False, "reason": "simulated devices make no sound"}
    page = pages.open(twin.url)
    note = page.locator("#monitor-note")
    until(lambda: note.inner_text() == "No monitor here. (simulated devices make no sound)", page)
    assert page.locator("#monitor-on").is_disabled() and page.locator("#monitor-device").is_disabled()
    assert slider(page, "monitor.level_db").is_disabled()


def test_two_pages_stay_in_step(twin: Twin, pages: Pages) -> None:
    first, second = pages.open(twin.url), pages.open(twin.url)
    slider(first).press("PageUp")
    until(lambda: entry(second).input_value() == "5.0", second)
    second.click("#mute")
    until(lambda: first.get_attribute("#mute", "aria-pressed") == "true", first)
    second.click("#pads >> text=Deep")
    until(lambda: "Deep" in "".join(first.locator('.pad[aria-pressed="true"]').all_inner_texts()), first)
    until(lambda: entry(first, "pitch.target_hz").input_value() == "85", first)
