// The picture of the sound: pitch on top, spectrograms of input and output below, ten seconds that scroll.

import { byId, icon, make, setAttribute, setIcon, setText } from "./dom.js";
import { t } from "./i18n.js";
import { PitchTrack, pitchPlace } from "./pitch_lane.js";
import { isRunning } from "./session.js";
import { bandPlace, Spectrogram } from "./spectrogram.js";
import { colour, css, onTheme } from "./theme.js";

const COLUMN_S = 0.025;
const SHOWN = 400; // ten seconds
const KEPT = SHOWN + 120;
const STALE_MS = 1500;
const PITCH_HZ = [50, 100, 200, 400, 800];
const BAND_HZ = [250, 1000, 4000, 12000];
const GUTTER = 46, FOOT = 18, GAP = 12;
const SIDES = ["in", "out"];

/** Wire the canvas; returns the function that puts its texts anew. */
export function startScope(session) {
  const scope = new Scope(byId("scope"));
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
    byId("scope").classList.toggle("asleep", Boolean(emptyKey));
    if (emptyKey) setText(byId("scope-empty"), t(emptyKey));
    setText(byId("scope-read"), emptyKey ? "" : readOut(scope));
  };
  const texts = () => {
    setText(byId("scope-freeze").lastChild, t(scope.frozen ? "scope.go-on" : "scope.freeze"));
    setIcon(byId("scope-freeze"), scope.frozen ? "play" : "pause");
    setAttribute(byId("scope-freeze"), "aria-pressed", String(scope.frozen));
    look();
    scope.invalidate();
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
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.count = 0; // columns that came
    this.shown = 0; // right edge of the picture, in columns; follows count smoothly
    this.fedAt = 0;
    this.frozen = false;
    this.lastHz = { in: 0, out: 0 };
    this.pitch = { in: new PitchTrack(KEPT), out: new PitchTrack(KEPT) };
    this.spectrum = { in: new Spectrogram(KEPT, ["silent", "in-mid", "in-loud"]), out: new Spectrogram(KEPT, ["silent", "out-mid", "out-loud"]) };
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    new ResizeObserver(() => this.invalidate()).observe(canvas);
    onTheme(() => {
      for (const side of SIDES) this.spectrum[side].recolour();
      this.invalidate();
    });
  }

  isStale() {
    return !this.frozen && performance.now() - this.fedAt > STALE_MS;
  }

  /** Take the columns of a Trace event. */
  feed(trace) {
    this.fedAt = performance.now();
    if (this.frozen) return;
    const columns = Math.max(trace.in?.hz?.length ?? 0, trace.out?.hz?.length ?? 0);
    for (let i = 0; i < columns; i++) {
      for (const side of SIDES) {
        const hz = trace[side]?.hz?.[i] ?? 0;
        this.pitch[side].put(this.count + i, hz);
        this.spectrum[side].put(this.count + i, trace[side]?.bands?.[i]);
        this.lastHz[side] = hz;
      }
    }
    this.count += columns;
    this.invalidate();
  }

  invalidate() {
    this.frame ??= requestAnimationFrame((now) => this.#step(now));
  }

  #step(now) {
    const columns = Math.min(0.1, (now - (this.drawnAt ?? now)) / 1000) / COLUMN_S;
    this.drawnAt = now;
    this.frame = undefined;
    const behind = this.count - this.shown;
    // a little faster when behind, slower when ahead; far off, or with reduced motion, jump
    if (behind > 20 || behind < 0 || this.still.matches) this.shown = this.count;
    else this.shown += Math.min(behind, columns * (1 + 0.12 * (behind - 2)));
    this.#draw();
    if (this.count - this.shown > 0.05 && !this.frozen) this.invalidate();
  }

  #draw() {
    const { canvas, context } = this;
    const sharp = Math.min(2, devicePixelRatio || 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width === 0) return;
    if (canvas.width !== Math.round(width * sharp) || canvas.height !== Math.round(height * sharp)) {
      canvas.width = Math.round(width * sharp);
      canvas.height = Math.round(height * sharp);
    }
    context.setTransform(sharp, 0, 0, sharp, 0, 0);
    context.clearRect(0, 0, width, height);
    const room = height - FOOT - 2 * GAP - 4;
    const lane = (top, share) => ({ left: GUTTER, top: 4 + top, width: width - GUTTER - 8, height: Math.round(room * share) });
    const pitch = lane(0, 0.4);
    const lanes = { in: lane(pitch.height + GAP, 0.3), out: lane(pitch.height + GAP + Math.round(room * 0.3) + GAP, 0.3) };
    const first = this.shown - SHOWN;
    this.#grid(pitch, PITCH_HZ, pitchPlace);
    this.pitch.in.draw(context, first, SHOWN, pitch, colour("in"), 4.5, 0.6);
    this.pitch.out.draw(context, first, SHOWN, pitch, colour("out"), 2, 1);
    this.#name(pitch, [["scope.pitch-in", "in"], ["scope.pitch-out", "out"]]);
    for (const side of SIDES) {
      this.spectrum[side].draw(context, first, SHOWN, lanes[side]);
      this.#grid(lanes[side], BAND_HZ, bandPlace);
      this.#name(lanes[side], [[`scope.${side}`, side]]);
    }
    this.#time(lanes.out);
  }

  #grid(lane, frequencies, place) {
    const { context } = this;
    context.font = '11px system-ui, "Noto Sans CJK SC", sans-serif';
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const hz of frequencies) {
      const y = Math.round(lane.top + lane.height * (1 - place(hz))) + 0.5;
      context.strokeStyle = css(colour("grid"), 0.5);
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(lane.left, y);
      context.lineTo(lane.left + lane.width, y);
      context.stroke();
      context.fillStyle = css(colour("dim"));
      context.fillText(hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`, lane.left - 6, Math.max(lane.top + 6, y));
    }
  }

  #name(lane, names) {
    const { context } = this;
    context.font = '600 11px system-ui, "Noto Sans CJK SC", sans-serif';
    context.textAlign = "left";
    context.textBaseline = "top";
    let x = lane.left + 8;
    for (const [key, token] of names) {
      const text = t(key);
      const wide = context.measureText(text).width;
      context.fillStyle = css(colour("card"), 0.75);
      context.fillRect(x - 4, lane.top + 4, wide + 8, 17);
      context.fillStyle = css(colour(token));
      context.fillText(text, x, lane.top + 7);
      x += wide + 16;
    }
  }

  #time(lane) {
    const { context } = this;
    context.font = '11px system-ui, "Noto Sans CJK SC", sans-serif';
    context.fillStyle = css(colour("dim"));
    context.textBaseline = "top";
    const seconds = SHOWN * COLUMN_S;
    for (let back = 0; back <= seconds; back += 2) {
      const x = lane.left + lane.width * (1 - back / seconds);
      context.textAlign = back === 0 ? "right" : back === seconds ? "left" : "center";
      context.fillText(back === 0 ? t("scope.now") : `−${back} s`, x, lane.top + lane.height + 5);
    }
  }
}
