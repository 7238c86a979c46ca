// Dark and light: the platform's choice unless the switch says otherwise. Canvases ask here for colours.

import { byId, make, setIcon } from "./dom.js";
import { t } from "./i18n.js";
import { recall, remember } from "./remember.js";

const ORDER = ["auto", "dark", "light"];
const ICONS = { auto: "half", dark: "moon", light: "sun" };

const probe = make("span", { class: "hidden", "aria-hidden": "true" });
const platform = matchMedia("(prefers-color-scheme: dark)");
const redraws = new Set();
const known = new Map();
let theme = recall("theme", "auto");

/** Return a colour token of the style sheets as [red, green, blue]. */
export function colour(token) {
  if (known.has(token)) return known.get(token);
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${token})`;
  const rgb = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  known.set(token, rgb);
  return rgb;
}

export const css = (rgb, alpha = 1) => `rgb(${rgb.join(" ")} / ${alpha})`;

/** Run fn whenever the colours change. */
export const onTheme = (fn) => redraws.add(fn);

/** Wire the switch: automatic, dark, light. */
export function startTheme() {
  byId("theme").addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    remember("theme", theme === "auto" ? null : theme);
    applyTheme();
  });
  platform.addEventListener("change", applyTheme);
  applyTheme();
}

/** Put the theme, and the switch's words in the language of now. */
export function applyTheme() {
  if (!ORDER.includes(theme)) theme = "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  known.clear();
  const button = byId("theme");
  setIcon(button, ICONS[theme]);
  button.ariaLabel = button.title = t("tool.theme", { theme: t(`theme.${theme}`) });
  redraws.forEach((fn) => fn());
}
