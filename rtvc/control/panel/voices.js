// The voices as a grid with search and filter. The one that speaks is told by the parameters, so every client agrees.

import { byId, icon, make, setAttribute, setText, svg } from "./dom.js";
import { currentLanguage, t, voiceLabel } from "./i18n.js";
import { say } from "./toast.js";

const FILTERS = ["all", "female", "male", "plain"];
const BARS = 9;

let filter = "all";

export const VOICE_PARAMS = ["voice.name", "voice.timbre", "voice.second", "voice.blend"];

/** Return the name of the voice that speaks. */
export function speaking(params) {
  const name = params.value("voice.name");
  return name === "neural" ? params.value("voice.timbre") : name;
}

/** Build the grid; returns the function that puts it anew. */
export function startVoices(session) {
  const { store, params } = session;
  const tiles = new Map();
  const mark = () => markTiles(session, tiles);
  const rebuild = () => {
    buildChips(() => mark());
    build(session, tiles);
    mark();
  };
  byId("voice-search").addEventListener("input", mark);
  store.watch(["voices", "schema"], rebuild);
  params.watch(VOICE_PARAMS, mark);
  return rebuild;
}

function buildChips(redraw) {
  byId("voice-chips").replaceChildren(
    ...FILTERS.map((name) =>
      make("button", {
        type: "button", class: "chip", "aria-pressed": String(name === filter), text: t(`voices.${name}`), "data-filter": name,
        onclick: () => {
          filter = name;
          for (const chip of byId("voice-chips").children) setAttribute(chip, "aria-pressed", String(chip.dataset.filter === name));
          redraw();
        },
      }),
    ),
  );
}

function build(session, tiles) {
  const voices = session.store.get("voices");
  tiles.clear();
  for (const voice of voices) tiles.set(voice.name, tile(session, voice));
  const items = [...tiles.values()].map(({ item }) => item);
  items.push(make("li", { class: "empty", id: "voices-empty", hidden: true }));
  byId("voices").replaceChildren(...items);
}

function tile(session, voice) {
  const label = voiceLabel(voice);
  const kind = t(`kind.${voice.kind}`, {}, voice.kind);
  const about = voice.available ? kind : t(voice.kind === "own" ? "voices.own-off" : "voices.unavailable");
  const line = make("span", { class: "voice-kind" });
  if (voice.sex) line.append(icon(voice.sex), make("span", { class: "hidden", text: t(`voices.${voice.sex}`) }), " ");
  line.append(make("span", { text: about }));
  const share = make("span", { class: "share" });
  const button = make(
    "button",
    { type: "button", class: "voice", "aria-pressed": "false", disabled: !voice.available, title: tip(voice) || false, onclick: () => choose(session, voice) },
    print(voice), make("span", { class: "voice-words" }, make("b", { text: label }), line), share,
  );
  const spoken = [kind, voice.sex ? t(`voices.${voice.sex}`) : "", voice.sex ?? "", voice.doc];
  return { voice, button, share, item: make("li", {}, button), label: label.toLowerCase(), words: spoken.join(" ").toLowerCase().split(" ") };
}

/** The server's words are English: they show where the page is, or where our own say the same. */
function tip({ name, doc, available, reason }) {
  const own = t(`voice.${name}.doc`, {}, "");
  if (currentLanguage() !== "en") return available ? own : "";
  return available ? own || doc : reason;
}

/** A voice's mark: bars whose heights and colour come from its name, so each is known at a glance. */
function print(voice) {
  let seed = [...voice.name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7);
  const next = () => (seed = (seed * 1664525 + 1013904223) >>> 0) / 2 ** 32;
  const picture = svg("svg", { class: `print ${voice.kind}`, viewBox: `0 0 ${BARS * 4} 36`, "aria-hidden": "true" });
  picture.style.setProperty("--hue", String(Math.round(next() * 360)));
  for (let i = 0; i < BARS; i++) {
    const swell = Math.sin((Math.PI * (i + 0.7)) / (BARS + 0.4));
    const high = voice.kind === "silence" ? 2 : 4 + 28 * swell * (0.25 + 0.75 * next());
    picture.append(svg("rect", { x: i * 4 + 0.8, y: 18 - high / 2, width: 2.4, height: high, rx: 1.2 }));
  }
  return picture;
}

/** Press the tile that speaks, show shares of a blend, hide what search and filter leave out. */
function markTiles({ params }, tiles) {
  const current = speaking(params);
  const blending = params.value("voice.name") === "neural" && params.value("voice.blend") > 0;
  const second = params.value("voice.second");
  const share = Math.round(100 * (params.value("voice.blend") ?? 0));
  const sought = byId("voice-search").value.trim().toLowerCase();
  let found = 0;
  for (const [name, { voice, button, share: badge, item, label, words }] of tiles) {
    const isSecond = blending && name === second && second !== current;
    setAttribute(button, "aria-pressed", String(name === current));
    button.classList.toggle("second", isSecond);
    const shown = name === current && blending && second !== current ? 100 - share : isSecond ? share : null;
    setText(badge, shown === null ? "" : `${shown} %`);
    const fits = filter === "all" || voice.sex === filter || (filter === "plain" && voice.kind !== "neural");
    item.hidden = !fits || !(label.includes(sought) || words.some((word) => word.startsWith(sought)));
    found += item.hidden ? 0 : 1;
  }
  const empty = byId("voices-empty");
  if (empty) {
    empty.hidden = found > 0;
    setText(empty, t(tiles.size ? "voices.none-found" : "voices.empty"));
  }
}

async function choose(session, voice) {
  if (await session.act("SwitchVoice", { name: voice.name })) say(t("voices.switched", { name: voiceLabel(voice) }));
}
