// The sound's controls, made from the schema: one block for each group of ids, one row for each parameter.

import { byId, icon, make, setAttribute, setText } from "./dom.js";
import { choiceLabel, groupLabel, paramDoc, paramLabel, t } from "./i18n.js";
import { IDLE_BY, whyIdle, whyMany } from "./idle.js";
import { idleMark, makeSlider } from "./slider.js";
import { VOICE_PARAMS } from "./voices.js";

// what other cards show, and prefixes that share a block; a prefix not named here has a block of its own
const ELSEWHERE = new Set([...VOICE_PARAMS, "level.mute"]);
const BLOCKS = { tone: "colour", breath: "colour", whisper: "colour", consonants: "colour", telephone: "colour", suppress: "level", gate: "level" };

/** Build the blocks; returns the function that puts them anew. */
export function startSliders(session) {
  const { store, params } = session;
  let rows = [];
  const markIdle = () => {
    const many = whyMany(params);
    setText(byId("sound-note"), many);
    byId("sound-note").hidden = !many;
    for (const { id, idle } of rows) idle(whyIdle(id, params), Boolean(many));
  };
  const build = () => {
    for (const row of rows) row.end();
    rows = [];
    const blocks = new Map();
    for (const param of store.get("schema")) {
      if (ELSEWHERE.has(param.id)) continue;
      const row = { id: param.id, ...makeRow(session, param) };
      rows.push(row);
      const name = BLOCKS[param.group] ?? param.group;
      blocks.set(name, [...(blocks.get(name) ?? []), row.row]);
    }
    const groups = [...blocks].map(([name, made]) => block(name, made));
    if (groups.length === 0) groups.push(make("p", { class: "empty", text: t("sound.empty") }));
    byId("groups").replaceChildren(...groups);
    markIdle();
  };
  startHead(session);
  store.watch(["schema"], build);
  params.watch(IDLE_BY, markIdle);
  return () => {
    build();
    headTexts();
  };
}

function block(name, rows) {
  const id = `group-${name}`;
  return make("section", { class: "group", role: "group", "aria-labelledby": id }, make("h3", { id, text: groupLabel(name) }), ...rows);
}

function makeRow(session, param) {
  if (param.kind === "choice") return choiceRow(session.params, param);
  if (param.kind === "switch") return switchRow(session.params, param);
  return makeSlider(session, param.id);
}

function choiceRow(params, param) {
  const name = `p-${param.id}`;
  const options = param.choices.map((choice) => {
    const input = make("input", { type: "radio", name, value: choice, id: `${name}-${choice}`, onchange: () => params.set({ [param.id]: choice }) });
    return { choice, input, label: make("label", { for: input.id, text: choiceLabel(param, choice) }) };
  });
  const hint = make("p", { class: "hint", hidden: true });
  const row = make(
    "div", { class: "row choice", role: "radiogroup", "aria-labelledby": `${name}-label`, "aria-describedby": `${name}-doc`, "data-param": param.id },
    make("span", { class: "label", id: `${name}-label`, text: paramLabel(param), title: paramDoc(param) }),
    make("div", { class: "segments" }, ...options.flatMap(({ input, label }) => [input, label])),
    make("p", { class: "doc", id: `${name}-doc`, text: paramDoc(param) }), hint,
  );
  const show = () => options.forEach(({ choice, input }) => (input.checked = choice === params.value(param.id)));
  show();
  return { row, end: params.watch([param.id], show), idle: idleMark(row, hint) };
}

function switchRow(params, param) {
  const id = `p-${param.id}`;
  const input = make("input", { type: "checkbox", role: "switch", id, "aria-describedby": `${id}-doc`, onchange: () => params.set({ [param.id]: input.checked }) });
  const hint = make("p", { class: "hint", hidden: true });
  const row = make(
    "div", { class: "row switch", "data-param": param.id },
    make("label", { for: id, text: paramLabel(param), title: paramDoc(param) }), input,
    make("p", { class: "doc", id: `${id}-doc`, text: paramDoc(param) }), hint,
  );
  const show = () => (input.checked = Boolean(params.value(param.id)));
  show();
  return { row, end: params.watch([param.id], show), idle: idleMark(row, hint) };
}

function startHead(session) {
  byId("explain").append(icon("info"), make("span"));
  byId("reset-all").append(icon("reset"), make("span"));
  byId("explain").addEventListener("click", () => {
    const on = byId("groups").classList.toggle("explained");
    setAttribute(byId("explain"), "aria-pressed", String(on));
  });
  byId("reset-all").addEventListener("click", () => {
    const shown = session.store.get("schema").filter(({ id }) => !ELSEWHERE.has(id));
    session.params.set(Object.fromEntries(shown.map((param) => [param.id, param.default])));
  });
  headTexts();
}

function headTexts() {
  setText(byId("explain").lastChild, t("sound.explain"));
  setText(byId("reset-all").lastChild, t("sound.reset"));
}
