// The picture of the sound: pitch on top, spectrograms of input and output below, ten seconds that scroll.

import { byId, icon, make, setAttribute, setIcon, setText } from "./dom.js";
import { paced } from "./frames.js";
import { t } from "./i18n.js";
import { PitchTrack } from "./pitch_lane.js";
import { drawGrid, lanesOf } from "./scope_grid.js";
import { isRunning } from "./session.js";
import { Spectrogram } from "./spectrogram.js";
import { colour, onTheme } from "./theme.js";

const COLUMN_S = 0.025;
const SHOWN = 400; // ten seconds
const KEPT = SHOWN + 120;
const STALE_MS = 1500;
const SIDES = ["in", "out"];

/** Wire the canvas; returns the function that puts its texts anew. */
export function startScope(session) {
  const scope = new Scope(byId("scope"), byId("scope-grid"));
  byId("scope-freeze").append(icon("pause"), make("span"));
  byId("scope-freeze").addEventListener("click", () => {
    scope.frozen = !scope.frozen;
    texts();
  });
  session.traces.add((trace) => scope.feed(trace));
  let emptyKey = "";
  const look = () => {
    const { store } = session;
    const running = store.get("phase") === "open" && isRunning(store.get("status"));
    emptyKey = store.get("phase") !== "open" ? "scope.offline" : !running ? "scope.stopped" : scope.count === 0 || scope.isStale() ? "scope.waiting" : "";
    byId("scope-empty").hidden = !emptyKey;
    byId("scope").parentElement.classList.toggle("asleep", Boolean(emptyKey));
    if (emptyKey) setText(byId("scope-empty"), t(emptyKey));
    setText(byId("scope-read"), emptyKey ? "" : readOut(scope));
  };
  const texts = () => {
    setText(byId("scope-freeze").lastChild, t(scope.frozen ? "scope.go-on" : "scope.freeze"));
    setIcon(byId("scope-freeze"), scope.frozen ? "play" : "pause");
    setAttribute(byId("scope-freeze"), "aria-pressed", String(scope.frozen));
    look();
    scope.redraw();
  };
  session.store.watch(["status", "phase"], look);
  setInterval(look, 250);
  texts();
  return texts;
}

function readOut(scope) {
  const shown = SIDES.map((side) => (scope.lastHz[side] > 0 ? `${Math.round(scope.lastHz[side])} Hz` : "–"));
  return t("scope.read", { heard: shown[0], made: shown[1] });
}

class Scope {
  #canvas;
  #grid;
  #pitch = { in: new PitchTrack(KEPT), out: new PitchTrack(KEPT) };
  #spectrum = { in: new Spectrogram(KEPT, ["silent", "in-mid", "in-loud"]), out: new Spectrogram(KEPT, ["silent", "out-mid", "out-loud"]) };
  #shown = 0; // the right edge, in columns; follows count smoothly
  #fedAt = 0;
  #drawnAt = 0;
  #seen = true; // whether it is on the screen: elsewhere nothing is drawn
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #ask = paced((now) => this.#step(now));

  constructor(canvas, grid) {
    this.#canvas = canvas;
    this.#grid = grid;
    this.count = 0; // columns that came
    this.frozen = false;
    this.lastHz = { in: 0, out: 0 };
    new ResizeObserver(() => this.redraw()).observe(canvas);
    new IntersectionObserver(([entry]) => {
      this.#seen = entry.isIntersecting;
      if (this.#seen) this.#ask();
    }).observe(canvas);
    onTheme(() => {
      for (const side of SIDES) this.#spectrum[side].recolour();
      this.redraw();
    });
  }

  isStale() {
    return !this.frozen && performance.now() - this.#fedAt > STALE_MS;
  }

  /** Take the columns of a Trace event. */
  feed(trace) {
    this.#fedAt = performance.now();
    if (this.frozen) return;
    const columns = Math.max(trace.in?.hz?.length ?? 0, trace.out?.hz?.length ?? 0);
    for (let i = 0; i < columns; i++) {
      for (const side of SIDES) {
        const hz = trace[side]?.hz?.[i] ?? 0;
        this.#pitch[side].put(this.count + i, hz);
        this.#spectrum[side].put(this.count + i, trace[side]?.bands?.[i]);
        this.lastHz[side] = hz;
      }
    }
    this.count += columns;
    if (this.#seen) this.#ask();
  }

  /** Draw everything anew: the size, the colours or the language changed. */
  redraw() {
    const context = fit(this.#grid);
    const lanes = lanesOf(this.#grid.clientWidth, this.#grid.clientHeight);
    drawGrid(context, lanes, SHOWN * COLUMN_S);
    this.#ask();
  }

  #step(now) {
    const columns = Math.min(0.1, (now - this.#drawnAt) / 1000) / COLUMN_S;
    this.#drawnAt = now;
    const behind = this.count - this.#shown;
    // a little faster when behind, slower when ahead; far off, or with reduced motion, jump
    if (behind > 20 || behind < 0 || this.#still.matches) this.#shown = this.count;
    else this.#shown += Math.min(behind, columns * (1 + 0.12 * (behind - 2)));
    this.#draw();
    if (this.#seen && this.count - this.#shown > 0.05 && !this.frozen) this.#ask();
  }

  #draw() {
    const context = fit(this.#canvas);
    const lanes = lanesOf(this.#canvas.clientWidth, this.#canvas.clientHeight);
    const first = this.#shown - SHOWN;
    this.#pitch.in.draw(context, first, SHOWN, lanes.pitch, colour("in"), 4.5, 0.6);
    this.#pitch.out.draw(context, first, SHOWN, lanes.pitch, colour("out"), 2, 1);
    for (const side of SIDES) this.#spectrum[side].draw(context, first, SHOWN, lanes[side]);
  }
}

/** Return the canvas's context, empty, in units of the page at the screen's sharpness. */
function fit(canvas) {
  const sharp = Math.min(2, devicePixelRatio || 1);
  const width = Math.round(canvas.clientWidth * sharp), height = Math.round(canvas.clientHeight * sharp);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  return context;
}
