// The head of the page: connection and engine in one line, undo and redo, the language.

import { byId, make, setText } from "./dom.js";
import { currentLanguage, LANGUAGES, setLanguage, t } from "./i18n.js";
import { isRunning } from "./session.js";
import { say } from "./toast.js";

/** Wire the head; redraw puts all texts of the page anew. Returns the function that does so for the head. */
export function startHead(session, redraw) {
  const { store } = session;
  for (const [id, request] of [["undo", "Undo"], ["redo", "Redo"]]) {
    byId(id).addEventListener("click", async () => {
      if (await session.act(request)) say(t(`tool.${id}-done`));
    });
  }
  const select = byId("language");
  select.append(...Object.entries(LANGUAGES).map(([value, { name }]) => make("option", { value, text: name, lang: value })));
  select.value = currentLanguage();
  select.addEventListener("change", () => setLanguage(select.value, redraw));
  const draw = () => drawState(store);
  store.watch(["phase", "lost", "status", "role", "panic", "muted", "canUndo", "canRedo"], draw);
  return draw;
}

/** Return what the state line says, and its colour. */
function stateOf(store) {
  const phase = store.get("lost") ? "offline" : store.get("phase");
  if (phase !== "open") return [`phase.${phase}`, phase === "offline" ? "bad" : "busy"];
  if (store.get("panic")) return ["live.panic-on", "bad"];
  const status = store.get("status");
  if (isRunning(status) && status.state === "running" && store.get("muted")) return ["live.muted", "busy"];
  const state = status?.state ?? "stopped";
  const colours = { running: "good", stopped: "idle", failed: "bad" };
  return [`state.${state}`, colours[state] ?? "busy"];
}

function drawState(store) {
  const [key, style] = stateOf(store);
  byId("state").dataset.style = style;
  setText(byId("state-text"), t(key, {}, store.get("status")?.state));
  const mayAct = store.get("phase") === "open" && store.get("role") !== "viewer";
  byId("fields").disabled = !mayAct;
  byId("undo").disabled = !mayAct || !store.get("canUndo");
  byId("redo").disabled = !mayAct || !store.get("canRedo");
  document.body.dataset.phase = store.get("phase");
  document.title = `${t(key)} · rtvc`;
}
