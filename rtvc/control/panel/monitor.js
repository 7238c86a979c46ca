// The monitor: the voice in the headphones of who speaks, with a switch, a level and an output of its own.

import { byId, make, setAttribute, setText } from "./dom.js";
import { currentLanguage, t } from "./i18n.js";
import { Params } from "./params.js";
import { readParam } from "./schema.js";
import { makeSlider } from "./slider.js";

const LEVEL = "monitor.level_db";
const PARAM = readParam({ id: LEVEL, label: LEVEL, minimum: -60, maximum: 12, unit: "dB", default: 0, choices: [], switch: false });
const DEFAULT = "default"; // the system's output, as SetMonitor calls it

/** Build the part below the devices; returns the function that puts its texts anew. */
export function startMonitor(session) {
  const { store } = session;
  const level = new Params((values) => send(session, values[LEVEL]), (error) => session.tell(error));
  level.load([PARAM], { [LEVEL]: 0 }, 0);
  const view = build(session);
  byId("monitor").append(...view.parts);
  let slider = null;
  const rebuild = () => {
    slider?.end();
    slider = makeSlider({ params: level }, LEVEL);
    view.level.replaceChildren(slider.row);
    draw();
  };
  const draw = () => {
    const monitor = store.get("monitor");
    if (monitor) level.receive({ [LEVEL]: monitor.level_db }, 0);
    drawView(view, monitor, store.get("devices"));
    slider.enable(Boolean(monitor?.available));
  };
  rebuild();
  store.watch(["monitor", "devices"], draw);
  return rebuild;
}

function build(session) {
  const title = make("h3", { id: "monitor-title" });
  const input = make("input", { type: "checkbox", role: "switch", id: "monitor-on", "aria-describedby": "monitor-note", onchange: async () => {
    if (!(await session.act("SetMonitor", { on: input.checked }))) input.checked = !input.checked;
  } });
  const words = make("label", { for: "monitor-on" });
  const label = make("label", { for: "monitor-device" });
  const select = make("select", { id: "monitor-device", onchange: async () => {
    await session.act("SetMonitor", { device: select.value });
    session.refreshMonitor();
  } });
  const level = make("div", { class: "monitor-level" });
  const note = make("p", { class: "note", id: "monitor-note" });
  const parts = [title, make("div", { class: "row switch" }, words, input), level, label, select, note];
  return { title, input, words, label, select, level, note, parts };
}

function drawView({ title, input, words, label, select, note }, monitor, devices) {
  setText(title, t("monitor.title"));
  setText(words, t("monitor.on"));
  setText(label, t("monitor.device"));
  setText(note, noteOf(monitor));
  note.classList.toggle("alarm", Boolean(monitor?.on && !monitor.playing));
  input.checked = Boolean(monitor?.on);
  for (const control of [input, select]) setAttribute(control, "disabled", !monitor?.available && !(control === input && monitor?.on));
  const current = monitor?.device ?? DEFAULT;
  const options = [[DEFAULT, t("monitor.default")], ...(devices?.playback ?? []).filter(({ id }) => id !== devices.current?.playback).map(({ id, label: text }) => [id, text])];
  if (!options.some(([id]) => id === current)) options.push([current, current]);
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
  }
  select.value = current;
}

/** Return what there is to say about it; the server's own words only where they are in the page's language. */
function noteOf(monitor) {
  if (!monitor) return "";
  const why = monitor.reason && currentLanguage() === "en" ? ` (${monitor.reason})` : "";
  if (!monitor.available) return t("monitor.unavailable") + why;
  if (monitor.on && !monitor.playing) return t("monitor.silent") + why;
  const late = monitor.playing && Number.isFinite(monitor.delay_ms);
  return t("monitor.note") + (late ? t("monitor.delay", { ms: monitor.delay_ms.toFixed(0) }) : "");
}

async function send(session, level_db) {
  const answer = await session.link.request("SetMonitor", { level_db });
  return { values: { [LEVEL]: answer.level_db }, rev: 0 };
}
