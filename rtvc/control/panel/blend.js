// A mixture of two neural voices: the one that speaks, a second one, and the share between them.

import { byId, make, setAttribute, setText } from "./dom.js";
import { t, voiceLabel } from "./i18n.js";
import { makeSlider } from "./slider.js";
import { namedBy, VOICE_PARAMS } from "./voices.js";

/** Build the row under the grid; returns the function that puts it anew. */
export function startBlend(session) {
  const { store, params } = session;
  let slider = null;
  let busy = false; // with a voice of the library: it speaks one at a time
  const build = () => {
    slider?.end();
    const mine = store.get("mine");
    busy = params.value("voice.timbre") === "mine";
    const fits = ({ kind, name }) => kind === "neural" || (kind === "mine" && (!busy || name === mine));
    const neural = store.get("voices").filter((voice) => voice.available && fits(voice));
    byId("blend").hidden = !params.has("voice.blend") || neural.length < 2;
    if (byId("blend").hidden) return byId("blend").replaceChildren();
    slider = makeSlider(session, "voice.blend", t("blend.share"));
    const first = make("b", { class: "blend-first" });
    const select = make("select", { id: "blend-second", "aria-label": t("blend.second") });
    select.append(...neural.map((voice) => make("option", { value: voice.name, text: voiceLabel(voice) })));
    select.addEventListener("change", () => second(neural.find(({ name }) => name === select.value)));
    const head = make("div", { class: "blend-head" }, make("span", { text: t("blend.title") }), first, make("span", { text: t("blend.and") }), select);
    const hint = make("p", { class: "note" });
    byId("blend").replaceChildren(head, slider.row, hint);
    draw();
  };
  const second = (voice) => {
    if (voice.kind === "neural") return params.set({ "voice.second": voice.name });
    session.act("BlendVoices", { first: namedBy(session, "voice.timbre"), second: voice.name, blend: params.value("voice.blend") });
  };
  const draw = () => {
    if (!slider) return;
    if (busy !== (params.value("voice.timbre") === "mine")) return build();
    const on = params.value("voice.name") === "neural";
    const select = byId("blend-second");
    const name = namedBy(session, "voice.timbre");
    const voice = store.get("voices").find((one) => one.name === name);
    setText(byId("blend").querySelector(".blend-first"), on && voice ? voiceLabel(voice) : "–");
    setAttribute(select, "disabled", !on);
    const chosen = namedBy(session, "voice.second");
    if (select.value !== chosen) select.value = chosen;
    slider.enable(on);
    const same = on && chosen === name;
    const note = byId("blend").querySelector(".note");
    setText(note, on ? (same ? t("blend.same") : "") : t("blend.needs-neural"));
    note.hidden = !note.textContent;
  };
  store.watch(["voices", "mine", "schema"], build);
  params.watch(VOICE_PARAMS, draw);
  return build;
}
