// What must not be overlooked: no connection, silence by panic, the raw voice going out, a voice that failed or is too slow.

import { byId, icon, make } from "./dom.js";
import { t } from "./i18n.js";
import { isRunning } from "./session.js";

let shown = "";

/** Show the banners that apply, and tick the reconnect's count-down. */
export function startBanners(session) {
  const { store, params } = session;
  const draw = () => show(session, bannersOf(session));
  store.watch(["phase", "lost", "role", "panic", "muted", "status", "bypass", "schema"], draw);
  params.watch(["voice.name"], draw);
  setInterval(() => {
    const count = byId("retry-count");
    if (count) count.textContent = countDown(store);
  }, 250);
}

/** Put every text anew. */
export function redrawBanners(session) {
  shown = "";
  show(session, bannersOf(session));
}

function countDown(store) {
  if (store.get("phase") === "connecting") return t("banner.trying");
  return t("banner.retry-in", { seconds: Math.max(0, Math.ceil((store.get("retryAt") - performance.now()) / 1000)) });
}

/** Return the banners as [name, style, icon, extra text]. */
function bannersOf({ store, params }) {
  const phase = store.get("phase");
  const status = store.get("status");
  const banners = [];
  if (store.get("lost")) banners.push(["offline", "bad", "offline"]);
  if (phase !== "open") return banners;
  const running = isRunning(status);
  if (store.get("panic")) banners.push(["panic", "bad", "panic"]);
  if (running && status.neural === "failed") banners.push(["neural", "bad", "warn", status.message]);
  else if (running && status.rung_reason) banners.push(["rung", "warn", "warn", status.rung_reason]);
  if (running && status.feedback) banners.push(["feedback", "warn", "warn", status.feedback]);
  const silent = store.get("panic") || store.get("muted");
  const raw = store.get("bypass")?.active || params.value("voice.name") === "own";
  if (running && raw && !silent) banners.push(["raw", "warn", "mic"]);
  if (status?.state === "failed") banners.push(["failed", "bad", "warn", status.message]);
  else if (status?.state.startsWith("waiting")) banners.push(["waiting", "warn", "info", status.message]);
  else if (status?.state.startsWith("restarting")) banners.push(["restarting", "warn", "info", status.message]);
  if (store.get("role") === "viewer") banners.push(["viewer", "calm", "info"]);
  return banners;
}

function show(session, banners) {
  const key = JSON.stringify(banners);
  if (key === shown) return;
  shown = key;
  byId("banners").replaceChildren(...banners.map((banner) => build(session, ...banner)));
}

function build(session, name, style, picture, extra = "") {
  const role = style === "calm" ? "status" : "alert";
  const text = make("p", {}, make("strong", { text: t(`banner.${name}`) }), " ", t(`banner.${name}.more`));
  if (extra) text.append(" ", make("span", { class: "detail", text: extra }));
  const banner = make("div", { class: `banner ${style}`, role, "data-banner": name }, icon(picture), text);
  const button = (key, act) => make("button", { type: "button", class: "plain", text: t(key), onclick: act });
  if (name === "offline") {
    const count = make("span", { id: "retry-count", "aria-hidden": "true", text: countDown(session.store) });
    banner.append(count, button("banner.retry", () => session.link.connect()));
  }
  if (name === "panic" && session.mayAct()) {
    banner.append(button("banner.release", () => session.act("Panic", { on: false })));
  }
  return banner;
}
