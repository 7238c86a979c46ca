// Short messages at the foot of the page, and one quiet line for screen readers.

import { byId, icon, make } from "./dom.js";
import { t } from "./i18n.js";

const SHOWN_MS = 7000;
const MOST = 3;

/** Tell that something did not work. */
export function complain(text) {
  const box = byId("toasts");
  for (const old of box.children) if (old.dataset.said === text) old.remove();
  const close = make("button", { type: "button", class: "tool", "aria-label": t("toast.close") }, icon("close"));
  const toast = make("div", { class: "toast", role: "alert" }, icon("warn"), make("p", { text }), close);
  toast.dataset.said = text;
  close.addEventListener("click", () => toast.remove());
  while (box.children.length >= MOST) box.firstChild.remove();
  box.append(toast);
  setTimeout(() => toast.remove(), SHOWN_MS);
}

/** Tell screen readers what changed. */
export function say(text) {
  byId("say").textContent = text;
}
