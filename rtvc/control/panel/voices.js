// The voices as a grid with search and filter, the person's own library as a group of its own below. The one that speaks
// is told by the parameters, so every client agrees; which one of the library "mine" is, by the server beside them.

import { byId, icon, make, setAttribute, setText, svg } from "./dom.js";
import { showDialog, textField } from "./dialogs.js";
import { currentLanguage, t, voiceLabel } from "./i18n.js";
import { say } from "./toast.js";

const FILTERS = ["all", "female", "male", "mine", "plain"];
const BARS = 9;

let filter = "all";

export const VOICE_PARAMS = ["voice.name", "voice.timbre", "voice.second", "voice.blend"];

/** Return the name of the voice that a parameter (voice.timbre, voice.second) means. */
export function namedBy({ store, params }, param) {
  const name = params.value(param);
  return name === "mine" ? store.get("mine") : name;
}

/** Return the name of the voice that speaks. */
function speaking(session) {
  const name = session.params.value("voice.name");
  return name === "neural" ? namedBy(session, "voice.timbre") : name;
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
  store.watch(["voices", "library", "schema"], rebuild);
  store.watch(["mine"], mark);
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
  const items = (mine) => [...tiles.values()].filter(({ voice }) => (voice.kind === "mine") === mine).map(({ item }) => item);
  const own = items(true);
  const lock = locked(session);
  const head = own.length || lock ? [make("li", { class: "voice-group", id: "voices-mine", text: t("voices.mine-title") })] : [];
  const empty = make("li", { class: "empty", id: "voices-empty", hidden: true });
  byId("voices").replaceChildren(...items(false), ...head, ...(lock ? [lock] : []), ...own, empty);
}

/** Return what says that the library is locked, with the way to open it, or that it cannot be read; null if it is open. */
function locked(session) {
  const { state, reason } = session.store.get("library");
  if (state !== "locked" && state !== "failed") return null;
  const item = make("li", { class: "voice-lock", id: "voices-lock" }, icon(state === "locked" ? "lock" : "warn"), make("span", { text: t(`voices.${state}`) }));
  if (state === "failed" && currentLanguage() === "en") item.append(make("span", { class: "detail", text: reason }));
  if (state === "locked") item.append(make("button", { type: "button", class: "plain", id: "voices-unlock", text: t("voices.unlock"), onclick: () => unlock(session) }));
  return item;
}

async function unlock(session) {
  const [label, input] = textField("voices-passphrase", t("voices.passphrase"), { type: "password", required: true, autocomplete: "off" });
  const note = make("p", { class: "note", text: t("voices.unlock-more") });
  const answer = await showDialog(t("voices.unlock-title"), [label, input, note], [["unlock", t("voices.unlock"), "accent"], ["", t("dialog.cancel")]]);
  const passphrase = input.value;
  input.value = "";
  if (answer === "unlock" && passphrase && (await session.act("UnlockVoices", { passphrase }))) say(t("voices.unlocked"));
}

function tile(session, voice) {
  const label = voiceLabel(voice);
  const kind = t(`kind.${voice.kind}`, {}, voice.kind);
  const about = voice.available ? kind : refusal(session, voice);
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

/** Return why a voice cannot be chosen, in short; for one of the library the server's reason where the page is English. */
function refusal({ store }, voice) {
  if (voice.kind === "own") return t("voices.own-off");
  const networks = store.get("voices").some(({ kind, available }) => kind === "neural" && available);
  if (voice.kind !== "mine" || !networks) return t("voices.unavailable");
  return currentLanguage() === "en" ? voice.reason : t("voices.refused");
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
function markTiles(session, tiles) {
  const { params } = session;
  const current = speaking(session);
  const blending = params.value("voice.name") === "neural" && params.value("voice.blend") > 0;
  const second = namedBy(session, "voice.second");
  const share = Math.round(100 * (params.value("voice.blend") ?? 0));
  const sought = byId("voice-search").value.trim().toLowerCase();
  let found = 0;
  let mine = 0;
  for (const [name, { voice, button, share: badge, item, label, words }] of tiles) {
    const isSecond = blending && name === second && second !== current;
    setAttribute(button, "aria-pressed", String(name === current));
    button.classList.toggle("second", isSecond);
    const shown = name === current && blending && second !== current ? 100 - share : isSecond ? share : null;
    setText(badge, shown === null ? "" : `${shown} %`);
    const fits = filter === "all" || voice.sex === filter || (filter === "mine" ? voice.kind === "mine" : filter === "plain" && !["neural", "mine"].includes(voice.kind));
    item.hidden = !fits || !(label.includes(sought) || words.some((word) => word.startsWith(sought)));
    found += item.hidden ? 0 : 1;
    mine += item.hidden || voice.kind !== "mine" ? 0 : 1;
  }
  const lock = byId("voices-lock");
  if (lock) lock.hidden = filter !== "all" && filter !== "mine";
  if (byId("voices-mine")) byId("voices-mine").hidden = !mine && (!lock || lock.hidden);
  const empty = byId("voices-empty");
  if (empty) {
    empty.hidden = found > 0 || Boolean(lock && !lock.hidden && filter === "mine");
    setText(empty, t(tiles.size ? "voices.none-found" : "voices.empty"));
  }
}

async function choose(session, voice) {
  if (await session.act("SwitchVoice", { name: voice.name })) say(t("voices.switched", { name: voiceLabel(voice) }));
}
