// Keys that work anywhere on the page, their list, and the switch that turns the single-letter ones off.

import { byId, make, typesText } from "./dom.js";
import { isDialogOpen, showDialog } from "./dialogs.js";
import { t } from "./i18n.js";
import { toggleMute, togglePanic } from "./live.js";
import { loadByKey } from "./presets.js";
import { recall, remember } from "./remember.js";

const LIST = [
  ["1 – 9", "keys.presets"], ["M", "keys.mute"], ["P", "keys.panic"], ["R", "keys.record"], ["/", "keys.search"],
  ["Ctrl Z", "keys.undo"], ["Ctrl Shift Z", "keys.redo"], ["?", "keys.help"], ["← →", "keys.step"],
  ["Shift ← →", "keys.fine"], ["Shift", "keys.drag"], ["Backspace", "keys.reset"],
];

/** Listen. Nothing happens while text is typed, a dialog is open, or the page is not connected. */
export function startKeys(session) {
  byId("help").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || isDialogOpen()) return;
    if ((event.ctrlKey || event.metaKey) && !event.altKey) return withControl(event, session);
    if (event.altKey || event.metaKey || event.repeat || typesText(event.target) || recall("letters", "on") === "off") return;
    const act = letters(session)[event.key.toLowerCase()];
    if (!act && !/^[1-9]$/.test(event.key)) return;
    event.preventDefault();
    if (event.key !== "?" && event.key !== "/" && !session.mayAct()) return;
    if (act) act();
    else loadByKey(session, event.key);
  });
}

function letters(session) {
  return {
    m: () => toggleMute(session),
    p: () => togglePanic(session),
    r: () => byId("record").click(),
    "/": () => byId("voice-search").focus(),
    "?": help,
  };
}

function withControl(event, session) {
  if (typesText(event.target) || !session.mayAct()) return;
  const key = event.key.toLowerCase();
  if (key === "z") session.act(event.shiftKey ? "Redo" : "Undo");
  else if (key === "y") session.act("Redo");
  else return;
  event.preventDefault();
}

async function help() {
  const rows = LIST.map(([keys, key]) => make("div", {}, make("dt", {}, ...keys.split(" ").map((one) => make(/^[–]$/.test(one) ? "span" : "kbd", { text: one }))), make("dd", { text: t(key) })));
  const box = make("input", { type: "checkbox", role: "switch", id: "letters" });
  box.checked = recall("letters", "on") === "on";
  box.addEventListener("change", () => remember("letters", box.checked ? "on" : "off"));
  const letters = make("div", { class: "row switch" }, make("label", { for: "letters", text: t("keys.letters") }), box);
  await showDialog(t("keys.title"), [make("dl", { class: "keys" }, ...rows), letters], [["", t("dialog.close")]]);
}
