// Preset pads: one press loads one. Keys 1 to 9 belong to pads, as this browser's person likes them.

import { byId, icon, make, setAttribute, setIcon, setText } from "./dom.js";
import { confirmed, showDialog, textField } from "./dialogs.js";
import { errorText, presetDoc, presetLabel, t } from "./i18n.js";
import { recall, remember } from "./remember.js";
import { complain, say } from "./toast.js";

const KEYS = "123456789";
const EXISTS = 601;

let editing = false;

/** Build the pads; returns the function that puts them anew. */
export function startPresets(session) {
  const { store } = session;
  byId("preset-save").append(icon("plus"), make("span"));
  byId("preset-edit").append(icon("pencil"), make("span"));
  byId("preset-save").addEventListener("click", () => save(session));
  byId("preset-edit").addEventListener("click", () => {
    editing = !editing;
    draw(session);
  });
  store.watch(["presets", "preset", "modified"], () => draw(session));
  return () => draw(session);
}

/** Load the pad that a key belongs to. */
export function loadByKey(session, key) {
  const keys = keysOf(session.store.get("presets"));
  const preset = session.store.get("presets").find(({ name }) => keys.get(name) === key);
  if (preset) load(session, preset);
}

async function load(session, preset) {
  if (await session.act("LoadPreset", { name: preset.name })) say(t("presets.loaded", { name: presetLabel(preset) }));
}

/** Return a map from preset name to its key: what the person chose, and the free ones in order. */
function keysOf(presets) {
  const keys = new Map();
  let chosen = {};
  try {
    chosen = JSON.parse(recall("keys", "{}"));
  } catch {
    remember("keys", null);
  }
  for (const { name } of presets) if (name in chosen) keys.set(name, chosen[name]);
  const used = new Set(keys.values());
  const free = [...KEYS].filter((key) => !used.has(key));
  for (const { name } of presets) if (!keys.has(name)) keys.set(name, free.shift() ?? "");
  return keys;
}

function chooseKey(session, name, key) {
  const presets = session.store.get("presets");
  const keys = keysOf(presets);
  const before = keys.get(name);
  for (const [other, its] of keys) if (key && its === key) keys.set(other, before);
  keys.set(name, key);
  remember("keys", JSON.stringify(Object.fromEntries(keys)));
  draw(session);
}

function draw(session) {
  const { store } = session;
  const presets = store.get("presets");
  const keys = keysOf(presets);
  setText(byId("preset-save").lastChild, t("presets.save"));
  setText(byId("preset-edit").lastChild, t(editing ? "presets.done" : "presets.edit"));
  setIcon(byId("preset-edit"), editing ? "check" : "pencil");
  setAttribute(byId("preset-edit"), "aria-pressed", String(editing));
  const focused = document.activeElement?.closest?.("#pads li")?.dataset.name;
  const pads = presets.map((preset) => pad(session, preset, keys.get(preset.name)));
  if (pads.length === 0) pads.push(make("li", { class: "empty", text: t("presets.empty") }));
  byId("pads").replaceChildren(...pads);
  if (focused !== undefined) byId("pads").querySelector(`[data-name="${CSS.escape(focused)}"] .pad, [data-name="${CSS.escape(focused)}"] select`)?.focus();
}

function pad(session, preset, key) {
  const { store } = session;
  const on = store.get("preset") === preset.name;
  const changed = on && store.get("modified");
  const label = presetLabel(preset);
  const item = make("li", { "data-name": preset.name });
  if (editing) {
    item.className = "pad-edit";
    const id = `key-of-${preset.name}`;
    const select = make("select", { id, "aria-label": t("presets.key-of", { name: label }), onchange: () => chooseKey(session, preset.name, select.value) });
    for (const choice of ["", ...KEYS]) select.append(make("option", { value: choice, text: choice || "–" }));
    select.value = key;
    item.append(make("span", { class: "pad-name", text: label }), select);
    if (preset.own) {
      const remove = make("button", { type: "button", class: "tool", "aria-label": t("presets.delete", { name: label }), title: t("presets.delete", { name: label }), onclick: () => erase(session, preset) }, icon("trash"));
      item.append(remove);
    }
    return item;
  }
  const button = make(
    "button",
    { type: "button", class: "pad", title: presetDoc(preset) || false, "aria-pressed": String(on), "aria-keyshortcuts": key || false, onclick: () => load(session, preset) },
    make("span", { class: "pad-key", "aria-hidden": "true", text: key }),
    make("span", { class: "pad-name", text: label }),
  );
  if (preset.own) button.append(make("span", { class: "pad-note", text: t("presets.own") }));
  if (changed) button.append(make("span", { class: "pad-note changed", text: t("presets.changed") }));
  item.append(button);
  return item;
}

async function erase(session, preset) {
  const name = presetLabel(preset);
  const sure = await confirmed(t("presets.delete", { name }), t("presets.delete-more"), t("presets.delete-yes"));
  if (sure && (await session.act("DeletePreset", { name: preset.name }))) say(t("presets.deleted", { name }));
}

/** Return the name for a preset that is shown as label: that of an own one shown so, else lower-case letters, digits, hyphens. */
function nameFor(label, presets) {
  const same = presets.find((preset) => preset.own && presetLabel(preset) === label);
  if (same) return same.name;
  const plain = toName(label);
  if (plain || !label) return plain;
  const used = new Set(presets.map(({ name }) => name));
  for (let i = 1; ; i++) if (!used.has(`own-${i}`)) return `own-${i}`; // a label in other letters
}

function toName(text) {
  return text.trim().toLowerCase().replace(/[^a-z0-9_]+/g, "-").replace(/^[-_]+|-+$/g, "").slice(0, 40);
}

async function save(session) {
  const presets = session.store.get("presets");
  const [words, input] = textField("preset-name", t("presets.name"), { required: true, maxlength: 40, autocomplete: "off", spellcheck: "false", "aria-describedby": "preset-name-help" });
  const [docLabel, doc] = textField("preset-doc", t("presets.doc"), { maxlength: 200, autocomplete: "off" });
  const help = make("p", { class: "note", id: "preset-name-help", text: t("presets.name-help") });
  input.addEventListener("input", () => {
    const name = nameFor(input.value.trim(), presets);
    setText(help, name && name !== input.value ? t("presets.saved-as", { name }) : t("presets.name-help"));
    input.setCustomValidity(name ? "" : t("presets.name-help"));
  });
  const answer = await showDialog(t("presets.save-title"), [words, input, help, docLabel, doc], [["save", t("presets.save"), "accent"], ["", t("dialog.cancel")]]);
  const label = input.value.trim();
  const name = nameFor(label, presets);
  if (answer !== "save" || !name) return;
  const note = doc.value.trim();
  await write(session, { name, label, ...(note && { doc: note }) });
}

async function write(session, data) {
  try {
    await session.link.request("SavePreset", data);
    say(t("presets.saved", { name: data.label }));
  } catch (error) {
    if (error.code !== EXISTS || data.overwrite) return complain(errorText(error));
    const sure = await confirmed(t("presets.exists", { name: data.label }), t("presets.exists-more"), t("presets.replace"));
    if (sure) await write(session, { ...data, overwrite: true });
  }
}
