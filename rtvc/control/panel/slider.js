// One number's row: label, slider, value to type, reset. Everything about it comes from the schema.
//
// Arrow keys step, Shift makes steps and drags fine, Page keys step five times, Home and End go to the ends,
// Backspace and double-click go back to the default.

import { icon, make, setAttribute, setText } from "./dom.js";
import { paramDoc, paramLabel, t, unitLong, unitShort } from "./i18n.js";
import { fitted, fromPlace, isAllowed, origin, parsed, toPlace, written } from "./schema.js";
import { complain } from "./toast.js";

const PLACES = 10000;
const BIG_STEPS = 5;
const FINE_DRAG = 0.1;

/** Return {row, end, enable, idle}: the row follows its parameter until end(). */
export function makeSlider(session, id, label = paramLabel(session.params.param(id))) {
  const { params } = session;
  const param = params.param(id);
  const view = build(param, label);
  const { range, entry, reset } = view;
  const set = (value) => params.set({ [id]: value });
  const toDefault = () => set(param.default);
  const show = () => draw(view, param, label, params.value(id));

  range.addEventListener("input", () => set(fromPlace(param, range.valueAsNumber / PLACES)));
  range.addEventListener("dblclick", toDefault);
  range.addEventListener("keydown", (event) => step(event, params, param, set));
  range.addEventListener("pointerdown", (event) => drag(event, params, param, set));
  for (const type of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) range.addEventListener(type, () => params.release(id));
  reset.addEventListener("click", () => {
    toDefault();
    range.focus();
  });
  entry.addEventListener("focus", () => entry.select());
  entry.addEventListener("change", () => enter(entry, param, label, set, show));
  entry.addEventListener("blur", show);
  entry.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show();
    if (event.key === "ArrowUp" || event.key === "ArrowDown") step(event, params, param, set);
  });
  const end = params.watch([id], show);
  show();
  return {
    row: view.row,
    end,
    enable: (on) => [range, entry, reset].forEach((control) => setAttribute(control, "disabled", !on)),
    idle: idleMark(view.row, view.hint),
  };
}

/** Return the function that marks a row whose parameter changes nothing now; what was said for many is only spoken. */
export function idleMark(row, hint) {
  return (why, saidAbove) => {
    row.classList.toggle("idle", Boolean(why));
    hint.classList.toggle("hidden", saidAbove);
    setText(hint, why);
    hint.hidden = !why;
  };
}

function build(param, label) {
  const id = `p-${param.id}`;
  const unit = unitLong(param);
  const range = make("input", { type: "range", id, min: 0, max: PLACES, step: "any", "aria-describedby": `${id}-doc ${id}-hint` });
  range.style.setProperty("--origin", origin(param));
  const entry = make("input", { type: "text", class: "entry", inputmode: "decimal", autocomplete: "off", "aria-label": unit ? `${label}, ${unit}` : label });
  const reset = make("button", { type: "button", class: "tool reset" }, icon("reset"));
  const home = make("span", { class: "home", "aria-hidden": "true" });
  home.style.setProperty("--home", toPlace(param, param.default));
  const doc = make("p", { class: "doc", id: `${id}-doc`, text: paramDoc(param) });
  const hint = make("p", { class: "hint", id: `${id}-hint`, hidden: true });
  const value = make("span", { class: "value" }, entry, make("span", { class: "unit", "aria-hidden": "true", text: unitShort(param) }));
  const track = make("div", { class: "track" }, home, range);
  const name = make("label", { for: id, text: label, title: paramDoc(param) });
  const row = make("div", { class: "row", "data-param": param.id }, name, reset, value, track, doc, hint);
  return { row, range, entry, reset, hint };
}

function draw({ range, entry, reset }, param, label, value) {
  if (value === undefined) return;
  const place = toPlace(param, value);
  range.value = place * PLACES;
  range.style.setProperty("--place", place);
  const text = written(param, value);
  setAttribute(range, "aria-valuetext", `${text} ${unitLong(param)}`.trim());
  if (document.activeElement !== entry || entry.dataset.shown !== text) entry.value = text;
  entry.dataset.shown = text;
  const home = Math.abs(value - param.default) < param.fine / 2;
  reset.classList.toggle("unneeded", home);
  const about = t("slider.reset", { label, value: `${written(param, param.default)} ${unitShort(param)}`.trim() });
  setAttribute(reset, "aria-label", about);
  setAttribute(reset, "title", about);
}

/** Move by keys; everything is counted from the value that shows now. */
function step(event, params, param, set) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const by = event.shiftKey ? param.fine : param.step;
  const moves = {
    ArrowUp: by, ArrowRight: by, ArrowDown: -by, ArrowLeft: -by,
    PageUp: BIG_STEPS * by, PageDown: -BIG_STEPS * by, Home: -Infinity, End: Infinity,
  };
  if (event.key === "Backspace" || event.key === "Delete") set(param.default);
  else if (event.key in moves) set(fitted(param, params.value(param.id) + moves[event.key]));
  else return;
  event.preventDefault();
}

/** Take hold of the slider; with Shift the value moves a tenth as far as the hand. */
function drag(event, params, param, set) {
  params.hold(param.id);
  if (!event.shiftKey) return;
  event.preventDefault();
  const range = event.currentTarget;
  range.focus();
  range.setPointerCapture(event.pointerId);
  const start = toPlace(param, params.value(param.id));
  const move = (moved) => {
    const place = start + ((moved.clientX - event.clientX) / range.clientWidth) * FINE_DRAG;
    set(fromPlace(param, Math.min(1, Math.max(0, place))));
  };
  range.addEventListener("pointermove", move);
  range.addEventListener("lostpointercapture", () => range.removeEventListener("pointermove", move), { once: true });
}

function enter(entry, param, label, set, show) {
  const value = parsed(param, entry.value);
  if (value !== null && isAllowed(param, value)) return set(value);
  const limits = { label, least: written(param, param.minimum), most: written(param, param.maximum), unit: unitShort(param) };
  complain(t("slider.range", limits));
  show();
}
