// On and off, mute, panic, the raw voice, and the recording.

import { byId, icon, make, setAttribute, setIcon, setText } from "./dom.js";
import { currentLanguage, t } from "./i18n.js";
import { isRunning } from "./session.js";
import { say } from "./toast.js";

/** Build the buttons and keep them in step with the server. */
export function startLive(session) {
  const { store } = session;
  const buttons = {
    power: bigButton("power", "power", () => togglePower(session)),
    mute: bigButton("mute", "mic", () => toggleMute(session)),
    panic: bigButton("panic", "panic", () => togglePanic(session)),
    raw: bigButton("raw", "mic", () => session.act("SetBypass", { active: !store.get("bypass")?.active })),
  };
  byId("actions").append(...Object.values(buttons));
  byId("record").append(icon("record"), make("span"));
  byId("record").addEventListener("click", () => toggleRecord(session));
  store.watch(["status", "muted", "panic", "bypass"], () => draw(session, buttons));
  store.watch(["recording", "status"], () => drawRecord(session));
  announce(session);
  return () => {
    draw(session, buttons);
    drawRecord(session);
  };
}

/** Turn on or off; an engine that failed is stopped first. */
async function togglePower(session) {
  const status = session.store.get("status");
  if (isRunning(status)) return session.act("Stop");
  if (status?.state === "failed") await session.act("Stop");
  return session.act("Start");
}

export const toggleMute = (session) => session.act("SetMute", { muted: !session.store.get("muted") });
export const togglePanic = (session) => session.act("Panic", { on: !session.store.get("panic") });

function toggleRecord(session) {
  return session.act(session.store.get("recording")?.active ? "StopRecord" : "StartRecord");
}

function bigButton(name, picture, act) {
  const words = make("span", { class: "words" }, make("b"), make("small"));
  return make("button", { type: "button", id: name, class: `big ${name}`, onclick: act }, icon(picture), words);
}

function put(button, pressed, key, key2) {
  setAttribute(button, "aria-pressed", String(pressed));
  setText(button.querySelector("b"), t(key));
  setText(button.querySelector("small"), t(key2));
}

function draw({ store }, { power, mute, panic, raw }) {
  const status = store.get("status");
  const state = status?.state ?? "stopped";
  const running = isRunning(status);
  put(power, running, running ? "live.on" : "live.off", running ? "live.turn-off" : "live.turn-on");
  power.dataset.state = state.split(" ")[0];
  const muted = store.get("muted");
  put(mute, muted, muted ? "live.muted" : "live.mute", muted ? "live.unmute-more" : "live.mute-more");
  setIcon(mute, muted ? "mic-off" : "mic");
  const on = store.get("panic");
  put(panic, on, on ? "live.panic-on" : "live.panic", on ? "live.release-more" : "live.panic-more");
  const bypass = store.get("bypass");
  raw.hidden = !bypass?.allowed;
  put(raw, Boolean(bypass?.active), bypass?.active ? "live.raw-on" : "live.raw", bypass?.active ? "live.raw-off-more" : "live.raw-more");
}

function drawRecord({ store }) {
  const recording = store.get("recording");
  const button = byId("record");
  const active = Boolean(recording?.active);
  button.disabled = !active && !isRunning(store.get("status"));
  setAttribute(button, "aria-pressed", String(active));
  setIcon(button, active ? "stop" : "record");
  setText(button.querySelector("span"), active ? clock(recording.seconds) : t("record.start"));
  button.ariaLabel = active ? `${t("record.stop-long")} ${clock(recording.seconds)}` : t("record.start-long");
  const note = byId("record-note");
  note.hidden = !recording?.path;
  if (recording?.path) setText(note, t(active ? "record.to" : "record.saved", { path: recording.path, time: clock(recording.seconds) }));
}

function clock(seconds = 0) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Say changes of state to screen readers; the first state after loading is not news. */
function announce({ store }) {
  let known = null;
  let language = currentLanguage();
  store.watch(["status", "muted", "panic", "phase"], () => {
    const state = store.get("status")?.state ?? "";
    const now = `${t(`state.${state}`)}. ${store.get("muted") ? t("live.muted") : ""} ${store.get("panic") ? t("live.panic-on") : ""}`;
    const news = known !== null && now !== known && language === currentLanguage();
    known = store.get("phase") === "open" ? now : null;
    language = currentLanguage();
    if (news && known) say(now);
  });
}
