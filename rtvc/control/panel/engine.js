// How the engine does: latency with its histogram, dropouts, load; the head's short facts come from the same numbers.

import { byId, make, setAttribute, setText, svg } from "./dom.js";
import { currentLanguage, t } from "./i18n.js";
import { isRunning } from "./session.js";

const WIDTH = 240, HEIGHT = 56;
const HEAVY_LOAD = 0.8;
const MOST_EDGES = 10;

const PERCENTILES = ["p50", "p95", "p99", "max"];
const COUNTERS = ["xruns", "device_xruns", "engine_restarts", "block_max_ms", "drift_ppm", "clients", "age_ms", "rung"];

/** Build the card; returns the function that puts its texts anew. */
export function startEngine(session) {
  const { store } = session;
  const view = build();
  byId("engine").append(view.empty, view.body);
  byId("flight").addEventListener("click", () => saveFlight(session));
  let live = null;
  session.meters.add((meters) => (live = { ...meters, at: performance.now() }));
  const draw = () => {
    const running = isRunning(store.get("status")) && store.get("phase") === "open";
    view.empty.hidden = running;
    view.body.hidden = !running;
    byId("flight").disabled = !running;
    setText(view.empty, t(store.get("phase") === "open" ? "engine.empty" : "engine.offline"));
    drawFacts(store, running, live);
    if (running) drawBody(view, store);
  };
  store.watch(["status", "stats", "phase"], draw);
  return draw;
}

/** Have the flight recorder's last minute saved where the program runs. */
async function saveFlight(session) {
  const saved = await session.act("SaveFlight");
  if (!saved) return;
  byId("flight-note").hidden = false;
  setText(byId("flight-note"), t("flight.saved", { seconds: shown(saved.seconds, 0), path: saved.path }));
}

function build() {
  const numbers = new Map();
  const cell = (name) => {
    const number = make("dd", { text: "–" });
    const label = make("dt");
    numbers.set(name, { label, number });
    return make("div", {}, label, number);
  };
  const big = make("p", { class: "latency" }, make("b", { text: "–" }), " ms ", make("span", { class: "dim" }));
  const measured = make("p", { class: "note" });
  const bars = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "histogram" });
  const axis = make("div", { class: "axis", "aria-hidden": "true" });
  return {
    numbers, big, measured, bars, axis,
    empty: make("p", { class: "empty" }),
    body: make(
      "div", {}, big, measured, bars, axis,
      make("dl", { class: "cells four" }, ...PERCENTILES.map(cell)),
      make("dl", { class: "cells" }, ...COUNTERS.map(cell)),
    ),
  };
}

function drawFacts(store, running, live) {
  const fresh = live && performance.now() - live.at < 2000 ? live : null;
  const status = running ? { ...store.get("status"), ...(fresh ?? {}) } : null;
  setText(byId("fact-latency"), status ? `${shown(status.delay_ms, 0)} ms` : "–");
  setText(byId("fact-load"), status ? `${shown(100 * status.load, 0)} %` : "–");
  setText(byId("fact-xruns"), status ? shown(status.xruns, 0) : "–");
  byId("fact-load").classList.toggle("alarm", Boolean(status) && status.load > HEAVY_LOAD);
}

function drawBody(view, store) {
  const status = store.get("status");
  const stats = store.get("stats") ?? {};
  const latency = stats.latency_ms ?? {};
  setText(view.big.querySelector("b"), shown(status.delay_ms, 1));
  setText(view.big.querySelector("span"), t("engine.parts", { voice: shown(status.voice_delay_ms, 1), flight: shown(status.in_flight_ms, 1) }));
  view.measured.hidden = !(status.measured_confidence > 0);
  setText(view.measured, t("engine.measured", {
    p50: shown(status.measured_p50_ms, 1), p95: shown(status.measured_p95_ms, 1), sure: shown(100 * status.measured_confidence, 0),
  }));
  for (const name of PERCENTILES) put(view, name, t(`engine.${name}`), shown(latency[name], 1));
  for (const name of COUNTERS) {
    const value = status[name] ?? stats[name];
    put(view, name, t(`engine.${name}`), name === "rung" ? t(`rung.${value}`) : shown(value, Number.isInteger(value) ? 0 : 1));
  }
  const runs = status.provider && currentLanguage() === "en" ? `${status.provider}: ${status.provider_reason}` : null;
  setAttribute(view.numbers.get("rung").number, "title", runs);
  drawHistogram(view, latency);
}

function put(view, name, label, text) {
  const cell = view.numbers.get(name);
  setText(cell.label, label);
  setText(cell.number, text);
}

/** Draw the bins from the first to the last that holds anything. */
function drawHistogram({ bars, axis }, { histogram, p50, p95 }) {
  const counts = histogram?.counts ?? [];
  const first = counts.findIndex((count) => count > 0);
  const last = counts.findLastIndex((count) => count > 0);
  if (first < 0) return bars.replaceChildren();
  const from = Math.max(0, first - 1);
  const until = Math.min(counts.length, last + 2);
  const most = Math.max(...counts);
  const wide = WIDTH / (until - from);
  const rects = [];
  for (let i = from; i < until; i++) {
    const high = counts[i] ? Math.max(1.5, (counts[i] / most) * (HEIGHT - 2)) : 0;
    const late = histogram.edges[i] >= p95;
    rects.push(svg("rect", { x: (i - from) * wide + 0.5, y: HEIGHT - high, width: Math.max(0.5, wide - 1), height: high, class: late ? "late" : "" }));
  }
  bars.replaceChildren(...rects);
  setAttribute(bars, "aria-label", t("engine.histogram", { p50: shown(p50, 1), p95: shown(p95, 1) }));
  const edges = histogram.edges.slice(from, until + 1);
  const every = Math.ceil(edges.length / MOST_EDGES);
  axis.replaceChildren(...edges.map((edge, i) => make("span", { text: i % every ? "" : shown(edge, 0) })));
}

const shown = (value, decimals) => (Number.isFinite(value) ? value.toFixed(decimals).replace(/^-(?=0*\.?0*$)/, "").replace("-", "−") : "–");
