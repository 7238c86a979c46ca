"""What the panel's tests do again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.rtvc.control.panel.twin import Twin
from tests.waiting import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def until(true: Callable[[], object], page: Page) -> None:
    """Wait until something is true, while the page goes on."""
    wait_for(true, "what the page was waited for", lambda: page.wait_for_timeout(25))


def slider(page: Page, param: str = "pitch.semitones") -> Locator:
    return page.locator(f'[data-param="{param}"] input[type=range]')


def entry(page: Page, param: str = "pitch.semitones") -> Locator:
    return page.locator(f'[data-param="{param}"] .entry')


def sent(twin: Twin, param: str = "pitch.semitones") -> list[object]:
    return [data["values"][param] for data in twin.requests("SetParam") if param in data["values"]]


def middle(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def save_preset(page: Page, twin: Twin, label: str, name: str, replace: bool) -> None:
    """Save the sound under a label that becomes this name; where it is there already, say yes to the question."""
    page.click("#preset-save")
    page.fill("#preset-name", label)
    until(lambda: page.locator("#preset-name-help").inner_text() == f"Saved as {name}", page)
    page.keyboard.press("Enter")
    if replace:
        page.click("dialog button[value=yes]")
    until(lambda: name in twin.presets, page)
