// The page's language: strings by key, one file per language; an element's data-text and data-label name its keys.

import { english } from "./lang_en.js";
import { chinese } from "./lang_zh.js";
import { remember } from "./remember.js";

export const LANGUAGES = { en: { name: "English", strings: english }, zh: { name: "中文", strings: chinese } };

let language = document.documentElement.lang === "zh" ? "zh" : "en";

export const currentLanguage = () => language;

/** Return the text of a key with {names} filled in; a key that does not exist returns fallback, else itself. */
export function t(key, values = {}, fallback = key) {
  const text = LANGUAGES[language].strings[key] ?? (key in english ? english[key] : fallback);
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Change the language, keep it, and let redraw() put every text anew. */
export function setLanguage(next, redraw) {
  language = next;
  remember("language", next);
  translatePage();
  redraw();
}

/** Put the texts of the static page. */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = t(element.dataset.label);
  for (const element of document.querySelectorAll("[data-tip]")) element.title = t(element.dataset.tip);
  for (const element of document.querySelectorAll("[data-hint]")) element.placeholder = t(element.dataset.hint);
}

// --- names of things the server lists ---------------------------------------------------------------------------------

export const paramLabel = (param) => t(`param.${param.id}`, {}, param.label);
export const paramDoc = (param) => t(`param.${param.id}.doc`, {}, param.doc ?? "");
export const choiceLabel = (param, choice) => t(`choice.${param.id}.${choice}`, {}, choice);
export const groupLabel = (group) => t(`group.${group}`, {}, group[0].toUpperCase() + group.slice(1));
export const unitShort = (param) => (param.scale === 100 ? "%" : t(`unit.${param.unit}`, {}, param.unit));
export const unitLong = (param) => (param.scale === 100 ? "%" : t(`unit.${param.unit}.long`, {}, unitShort(param)));

/** Return a preset's name as a person would write it. */
export function presetLabel(preset) {
  const plain = preset.name.replace(/[-_]/g, " ");
  const fallback = preset.label ?? plain[0].toUpperCase() + plain.slice(1);
  return preset.own ? fallback : t(`preset.${preset.name}`, {}, fallback);
}

export const presetDoc = (preset) => (preset.own ? preset.doc : t(`preset.${preset.name}.doc`, {}, preset.doc ?? ""));

/** Return a voice's name as a person would write it; people's names stay as they are. */
export function voiceLabel(voice) {
  return t(`voice.${voice.name}`, {}, voice.label || voice.name[0].toUpperCase() + voice.name.slice(1));
}

/** Return what an error says: our own words for the code, the server's own for the rest. */
export function errorText(error) {
  if (error.code === 0) return t("error.unanswered");
  const own = t(`error.${error.code}`, {}, "");
  if (!own) return error.message;
  return error.message && currentLanguage() === "en" ? `${own}: ${error.message}` : own;
}
