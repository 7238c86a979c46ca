// A mixture of two neural voices: the one that speaks, a second one, and the share between them.

import { byId, make, setAttribute, setText } from "./dom.js";
import { t, voiceLabel } from "./i18n.js";
import { makeSlider } from "./slider.js";
import { VOICE_PARAMS } from "./voices.js";

/** Build the row under the grid; returns the function that puts it anew. */
export function startBlend(session) {
  const { store, params } = session;
  let slider = null;
  const build = () => {
    slider?.end();
    const neural = store.get("voices").filter(({ kind, available }) => kind === "neural" && available);
    byId("blend").hidden = !params.has("voice.blend") || neural.length < 2;
    if (byId("blend").hidden) return byId("blend").replaceChildren();
    slider = makeSlider(session, "voice.blend", t("blend.share"));
    const first = make("b", { class: "blend-first" });
    const select = make("select", { id: "blend-second", "aria-label": t("blend.second") });
    select.append(...neural.map((voice) => make("option", { value: voice.name, text: voiceLabel(voice) })));
    select.addEventListener("change", () => params.set({ "voice.second": select.value }));
    const head = make("div", { class: "blend-head" }, make("span", { text: t("blend.title") }), first, make("span", { text: t("blend.and") }), select);
    const hint = make("p", { class: "note" });
    byId("blend").replaceChildren(head, slider.row, hint);
    draw();
  };
  const draw = () => {
    if (!slider) return;
    const on = params.value("voice.name") === "neural";
    const select = byId("blend-second");
    const name = params.value("voice.timbre");
    const voice = store.get("voices").find((one) => one.name === name);
    setText(byId("blend").querySelector(".blend-first"), on && voice ? voiceLabel(voice) : "–");
    setAttribute(select, "disabled", !on);
    if (select.value !== params.value("voice.second")) select.value = params.value("voice.second");
    slider.enable(on);
    const same = on && params.value("voice.second") === name;
    const note = byId("blend").querySelector(".note");
    setText(note, on ? (same ? t("blend.same") : "") : t("blend.needs-neural"));
    note.hidden = !note.textContent;
  };
  store.watch(["voices", "schema"], build);
  params.watch(VOICE_PARAMS, draw);
  return build;
}
