// Which controls change nothing just now, and why: the engine's rules, so that nobody turns a dead knob in vain.

import { t } from "./i18n.js";

/** The parameters on which it depends. */
export const IDLE_BY = ["voice.name", "pitch.mode"];

const SHAPING = new Set(["pitch", "formant", "tone", "breath", "whisper", "telephone"]);
const NOT_WITH_NEURAL = new Set(["formant.follow"]);
const ONLY_WITH_NEURAL = new Set(["consonants.amount"]);

/** Return what the voice that speaks leaves without effect, said once for all dimmed controls, or "". */
export function whyMany(params) {
  const voice = params.value("voice.name");
  return ["own", "silence", "neural"].includes(voice) ? t(`idle.${voice}`) : "";
}

/** Return why a parameter has no effect now, or "". */
export function whyIdle(id, params) {
  const voice = params.value("voice.name");
  if ((voice === "own" || voice === "silence") && SHAPING.has(id.split(".")[0])) return t("idle.none");
  if ((voice === "neural" ? NOT_WITH_NEURAL : ONLY_WITH_NEURAL).has(id)) return t("idle.none");
  const mode = params.value("pitch.mode");
  if (id === "pitch.target_hz" && mode === "shift") return t("idle.shift");
  if (id === "pitch.intonation" && (mode === "note" || mode === "robot")) return t("idle.flat");
  return "";
}
