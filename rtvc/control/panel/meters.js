// Input and output level with peak hold, in dBFS. Twenty values a second come in; the bars fall smoothly in between.

import { byId, make, setAttribute, setText } from "./dom.js";
import { paced } from "./frames.js";
import { t } from "./i18n.js";

const FLOOR_DB = -60;
const FALL_DB_S = 40;
const HOLD_MS = 1500;
const HELD_FALL_DB_S = 15;
const CLIP_DB = -1.05; // the limiter's ceiling is -1: an input at or above this is too hot for it
const STALE_MS = 500;
const TELL_MS = 1000;
const TICKS = [-60, -40, -20, -10, 0];

class Meter {
  constructor(name) {
    this.name = name;
    this.level = this.held = FLOOR_DB;
    this.heldAt = 0;
    this.label = make("span", { class: "meter-name" });
    this.number = make("span", { class: "meter-number", text: "–" });
    this.cover = make("div", { class: "meter-cover" });
    this.mark = make("div", { class: "meter-mark" });
    this.bar = make("div", { class: `meter ${name}`, role: "meter", "aria-valuemin": FLOOR_DB, "aria-valuemax": 0 }, this.cover, this.mark);
    this.row = make("div", { class: "meter-row" }, this.label, this.bar, this.number);
  }

  feed(db, now) {
    this.level = Math.max(this.level, db);
    if (db >= this.held) {
      this.held = db;
      this.heldAt = now;
    }
    if (this.name === "in" && db > CLIP_DB) this.clippedAt = now;
  }

  fall(seconds, now) {
    this.level = Math.max(FLOOR_DB, this.level - FALL_DB_S * seconds);
    if (now - this.heldAt > HOLD_MS) this.held = Math.max(FLOOR_DB, this.held - HELD_FALL_DB_S * seconds);
  }

  draw(now) {
    const share = (db) => Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
    this.cover.style.transform = `translateX(${(100 * share(this.level)).toFixed(1)}%)`;
    this.mark.style.transform = `translateX(${(100 * share(this.held)).toFixed(1)}%)`;
    this.mark.hidden = this.held <= FLOOR_DB;
    this.bar.classList.toggle("clipped", now - (this.clippedAt ?? -1e9) < 2000);
  }

  tell(running, now) {
    const silent = this.level <= FLOOR_DB && now - this.heldAt > HOLD_MS;
    setText(this.number, !running ? "–" : silent ? "−∞" : this.held.toFixed(0).replace("-", "−"));
    setAttribute(this.bar, "aria-valuenow", Math.round(Math.min(0, this.held)));
    setAttribute(this.bar, "aria-valuetext", running && !silent ? `${this.held.toFixed(0)} dBFS` : t("levels.silent"));
  }
}

/** Build both meters; returns the function that puts their texts anew. */
export function startMeters(session) {
  const meters = [new Meter("in"), new Meter("out")];
  const scale = make("div", { class: "meter-scale", "aria-hidden": "true" });
  for (const db of TICKS) {
    const tick = make("span", { text: String(db).replace("-", "−") });
    tick.style.left = `${100 * (1 - db / FLOOR_DB)}%`;
    scale.append(tick);
  }
  const hint = make("p", { class: "note", id: "levels-hint", hidden: true });
  byId("levels").append(...meters.map((meter) => meter.row), make("div", { class: "meter-row", "aria-hidden": "true" }, make("span"), scale, make("span", { class: "meter-number", text: "dB" })), hint);

  let fedAt = -1e9;
  let drawnAt = performance.now();
  const ask = paced((now) => {
    const seconds = Math.min(0.1, (now - drawnAt) / 1000);
    drawnAt = now;
    for (const meter of meters) {
      meter.fall(seconds, now);
      meter.draw(now);
    }
    const moving = meters.some((meter) => meter.held > FLOOR_DB || meter.level > FLOOR_DB);
    if (moving) ask();
  });
  session.meters.add(({ in_peak_dbfs: heard, out_peak_dbfs: made }) => {
    fedAt = performance.now();
    meters[0].feed(heard ?? FLOOR_DB, fedAt);
    meters[1].feed(made ?? FLOOR_DB, fedAt);
    ask();
  });
  const tell = () => {
    const now = performance.now();
    for (const meter of meters) meter.tell(now - fedAt < STALE_MS, now);
    hint.hidden = !(now - (meters[0].clippedAt ?? -1e9) < 4000);
  };
  setInterval(tell, TELL_MS / 4);
  const texts = () => {
    for (const meter of meters) {
      setText(meter.label, t(`levels.${meter.name}`));
      meter.bar.ariaLabel = t(`levels.${meter.name}-long`);
    }
    setText(hint, t("levels.clipped"));
    tell();
  };
  texts();
  return texts;
}
