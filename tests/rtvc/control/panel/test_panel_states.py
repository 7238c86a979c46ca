"""What the panel tells and how it looks, in real Chromium against the twin server: failures, languages, sizes, keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rtvc.control.panel.conftest import Pages, Panel
from tests.rtvc.control.panel.steps import entry, until
from tests.rtvc.control.panel.twin import Twin

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOCUSABLE = "a[href], button, input, select, [tabindex]"
VISIBLE = f"""[...document.querySelectorAll('{FOCUSABLE}')].filter((e) => e.tabIndex >= 0 && !e.matches(':disabled') &&
  e.checkVisibility({{visibilityProperty: true}}))"""
NAMES = re.compile(
    r"rtvc|Hz|kHz|dBFS|dB|ms|ppm|DSP|USB microphone|Headset|virtual microphone|-mic|Speakers|English|Ctrl|Shift"
    r"|Backspace|Heart|Bella|Sarah|Emma|Michael|Puck|Fenrir|George|\b[MPRZ]\b|\bs\b"
)
TEXTS = (
    ("text", "bg"), ("text", "card"), ("text", "raise"), ("text", "accent-soft"), ("dim", "bg"), ("dim", "card"),
    ("dim", "raise"), ("dim", "accent-soft"), ("on-accent", "accent"), ("on-warn", "warn"), ("bad", "card"),
    ("bad", "bad-soft"), ("warn", "warn-soft"), ("in", "card"), ("out", "card"),
)  # fmt: skip
EDGES = (("edge", "card"), ("focus", "card"), ("focus", "bg"), ("accent", "raise"))
EDGE_NAMES = {f"{front} on {back}" for front, back in EDGES}


def contrasts(page: Page) -> dict[str, float]:
    """Return WCAG's contrast of each pair of colour tokens, as the page shows them."""
    script = """async (pairs) => {
      const { colour } = await import('/panel/theme.js');
      const light = (token) => colour(token).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      return Object.fromEntries(pairs.map(([front, back]) => {
        const [a, b] = [light(front), light(back)];
        return [`${front} on ${back}`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
      }));
    }"""
    found: dict[str, float] = page.evaluate(script, [*TEXTS, *EDGES])
    return found


def background(page: Page) -> int:
    """Return how light the page is: 0 to 765."""
    return int(sum(page.evaluate("import('/panel/theme.js').then(({ colour }) => colour('bg'))")))


def wide(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_the_connection_is_lost_and_comes_back(panel: Panel, pictures: Path) -> None:
    page, twin = panel.page, panel.twin
    twin.stop()
    page.wait_for_selector("[data-banner=offline]")
    until(lambda: page.locator("#state").inner_text() == "Offline", page)
    assert page.locator("#mute").is_disabled() and page.locator("#undo").is_disabled()
    page.screenshot(path=pictures / "offline.png")
    twin.values["pitch.semitones"] = 7.0  # changed while nobody looked
    twin.start()
    page.wait_for_selector("[data-banner=offline]", state="detached")
    until(lambda: entry(page).input_value() == "7.0" and page.locator("#mute").is_enabled(), page)
    assert all("WebSocket" in text for text in panel.pages.complaints)  # the browser's own words about it
    panel.pages.complaints.clear()


def test_a_token_is_asked_for_and_kept_for_the_tab_only(twin: Twin, pages: Pages, pictures: Path) -> None:
    twin.token = "open sesame"
    page = pages.open_unconnected(twin.url)
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=That token was not accepted.")
    page.screenshot(path=pictures / "token.png")
    page.fill("#token", "open sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#groups .row")
    page.reload()
    page.wait_for_selector("#groups .row")
    assert page.evaluate("JSON.stringify(localStorage)") == "{}"


def test_a_viewer_watches_and_changes_nothing(twin: Twin, pages: Pages) -> None:
    twin.role = "viewer"
    page = pages.open(twin.url)
    page.wait_for_selector("[data-banner=viewer]")
    assert page.locator("#panic").is_disabled()
    page.keyboard.press("m")
    page.wait_for_timeout(100)
    assert twin.requests("SetMute") == []


def test_a_stopped_engine_is_calm_and_starts(panel: Panel, pictures: Path) -> None:
    page, twin = panel.page, panel.twin
    twin.call(lambda: twin.set_state("stopped"))
    until(lambda: page.locator("#scope-empty").is_visible(), page)
    until(lambda: page.locator("#scope-empty").inner_text().startswith("The engine is off."), page)
    until(lambda: page.locator("#fact-latency").inner_text() == "–", page)
    assert page.locator("#record").is_disabled()
    page.screenshot(path=pictures / "stopped.png")
    page.click("#power")
    until(lambda: twin.state == "running" and page.locator("#scope-empty").is_hidden(), page)
    until(lambda: page.locator("#fact-latency").inner_text().endswith(" ms"), page)


def test_raw_voice_and_a_failed_neural_voice_are_conspicuous(twin: Twin, pages: Pages, pictures: Path) -> None:
    twin.bypass_allowed = True
    page = pages.open(twin.url)
    page.click("#raw")
    page.wait_for_selector("[data-banner=raw]")
    until(lambda: page.locator("[data-banner=raw]").get_attribute("role") == "alert", page)
    page.click("#raw")
    page.wait_for_selector("[data-banner=raw]", state="detached")
    page.click("#voices >> text=Heart")
    until(lambda: twin.neural == "speaks", page)  # else the click may come after what follows
    twin.neural, twin.message = "failed", "the decoder ran out of memory"
    page.wait_for_selector("[data-banner=neural]")
    until(lambda: "the decoder ran out of memory" in page.locator("[data-banner=neural]").inner_text(), page)
    page.screenshot(path=pictures / "neural-failed.png")
    twin.neural, twin.message, twin.rung_reason = "speaks", "", "other programs take the processor"
    page.wait_for_selector("[data-banner=rung]")
    assert "other programs take the processor" in page.locator("[data-banner=rung]").inner_text()
    runs = page.locator("#engine dd[title]")  # beside the voice in use: what runs the networks, and why
    assert runs.get_attribute("title") == "CPUExecutionProvider: no other is installed"


def test_meters_move_and_hold_their_peak(panel: Panel) -> None:
    page = panel.page
    both = """document.querySelector('.meter.in').ariaValueNow + ' ' +
      document.querySelector('.meter.in .meter-mark').style.transform"""

    def high() -> bool:
        told, mark = re.findall(r"-?[\d.]+", page.evaluate(both))  # at one moment: a peak is held for 1.5 s, then falls
        return -15 < float(told) < 0 and float(mark) > 70

    until(high, page)
    page.click("#mute")
    until(lambda: page.locator(".meter.out").get_attribute("aria-valuetext") == "silent", page)


def test_the_scope_is_drawn_and_can_be_frozen(panel: Panel) -> None:
    page = panel.page
    picture = "document.getElementById('scope').toDataURL()"
    until(lambda: page.locator("#scope-empty").is_hidden(), page)
    first = page.evaluate(picture)
    until(lambda: page.evaluate(picture) != first, page)
    page.click("#scope-freeze")
    page.wait_for_timeout(100)
    still = page.evaluate(picture)
    page.wait_for_timeout(200)
    assert page.evaluate(picture) == still


@pytest.mark.parametrize(("width", "height"), [(360, 740), (820, 1180)])
def test_a_small_screen_never_scrolls_sideways(
    twin: Twin, pages: Pages, pictures: Path, width: int, height: int
) -> None:
    page = pages.open(twin.url, width, height, has_touch=True)
    assert wide(page) <= width
    page.tap("#pads >> text=Child")
    until(lambda: twin.preset == "child", page)
    small = page.evaluate(
        f"""{VISIBLE}.filter((e) => e.type !== 'radio').map((e) => [e.id || e.className, e.getBoundingClientRect()])
          .filter(([, box]) => box.width < 24 || box.height < 22).map(([name]) => name)"""
    )
    assert small == []
    for name in ("power", "mute", "panic"):
        box = page.locator(f"#{name}").bounding_box()
        assert box and box["y"] + box["height"] <= height
    page.screenshot(path=pictures / f"width-{width}.png")


def test_dark_and_light_both_readable_by_system_and_by_switch(twin: Twin, pages: Pages, pictures: Path) -> None:
    lightness = {}
    for scheme in ("dark", "light"):
        page = pages.open(twin.url, height=1100, color_scheme=scheme)
        page.click("#pads >> text=Feminine")
        page.screenshot(path=pictures / f"desktop-{scheme}.png")
        found = contrasts(page)
        assert {pair: ratio for pair, ratio in found.items() if ratio < (3 if pair in EDGE_NAMES else 4.5)} == {}
        lightness[scheme] = background(page)
    assert lightness["dark"] < 100
    assert lightness["light"] > 600
    page.click("#theme")
    page.reload()
    assert background(page) == lightness["dark"]


def test_every_text_is_chinese_for_chinese_browsers(twin: Twin, pages: Pages, pictures: Path) -> None:
    page = pages.open(twin.url, height=1100, locale="zh-CN")
    page.click("#pads >> text=女声化")
    page.screenshot(path=pictures / "chinese.png")
    page.click("#explain")
    page.click("#preset-edit")
    page.keyboard.press("?")
    texts = page.evaluate(
        """() => {
          const texts = [];
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) {
            if (!walk.currentNode.parentElement.closest('noscript')) texts.push(walk.currentNode.data);
          }
          const spoken = ['aria-label', 'title', 'placeholder', 'aria-valuetext'];
          for (const e of document.querySelectorAll('*')) {
            texts.push(...spoken.map((name) => e.getAttribute(name) ?? ''));
          }
          return texts.map((text) => text.trim()).filter(Boolean);
        }"""
    )
    assert [text for text in texts if re.search("[A-Za-z]", NAMES.sub("", text))] == []
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    missing = page.evaluate(
        """async () => {
          const { english } = await import('/panel/lang_en.js');
          const { chinese } = await import('/panel/lang_zh.js');
          return Object.keys(english).filter((key) => !(key in chinese));
        }"""
    )
    assert missing == []
    page.keyboard.press("Escape")
    page.select_option("#language", "en")
    until(lambda: page.locator("#live-title").inner_text().lower() == "live", page)
    page.reload()
    page.wait_for_selector("#groups .row")
    until(lambda: page.locator("#pads .pad-name").first.inner_text() == "Natural", page)


def test_every_control_is_reached_by_tab_with_a_ring_and_has_a_name(panel: Panel) -> None:
    page = panel.page
    wanted = set(
        page.evaluate(
            f"""{VISIBLE}.map((e, i) => ((e.dataset.tab = i), e)).filter((e) => e.type !== 'radio' || e.checked)
              .map((e) => e.dataset.tab)"""
        )
    )
    assert len(wanted) > 50
    reached, ringless = set(), []
    for _ in range(len(wanted) + 10):
        page.keyboard.press("Tab")
        tab, ring = page.evaluate(
            """() => {
              const e = document.activeElement;
              const seen = e.type === 'radio' ? e.nextElementSibling : e;
              return [e.dataset.tab ?? '', getComputedStyle(seen).outlineStyle !== 'none'];
            }"""
        )
        reached.add(tab)
        if tab and not ring:
            ringless.append(tab)
    assert wanted - reached == set()
    assert ringless == []
    nameless = page.evaluate(
        f"""{VISIBLE}.filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_a_strict_policy_is_kept(panel: Panel) -> None:
    page, twin = panel.page, panel.twin
    assert page.evaluate("document.querySelectorAll('script:not([src]), style').length") == 0
    html = page.request.get(twin.url).text()
    assert not re.search(r"\sstyle=|\son\w+=|https?://", html)
