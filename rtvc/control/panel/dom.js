// Small helpers over the DOM. Nothing here sets inline style markup: the page's policy forbids it.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Return a new element. Attributes named on… are listeners, text is its text, false and null leave an attribute out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** Set, or with false and null remove, an attribute; true sets it empty. */
export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Return a new SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children);
  return element;
}

/** Return an icon of the sprite, hidden from screen readers: the text beside it or a label must say the same. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/** Point an icon that exists at another picture. */
export function setIcon(element, name) {
  element.querySelector("use").setAttribute("href", `#icon-${name}`);
}

/** Put the sprite into the page, so that icons show even when the server is gone. */
export async function loadIcons() {
  const answer = await fetch(new URL("icons.svg", import.meta.url));
  const sprite = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
  sprite.setAttribute("class", "hidden");
  sprite.setAttribute("aria-hidden", "true");
  document.body.append(document.importNode(sprite, true));
}

/** Set text only where it differs, so that live regions stay quiet and selections stay. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return whether a key pressed on this element types text. */
export function typesText(element) {
  if (!(element instanceof HTMLElement)) return false;
  if (element.tagName === "TEXTAREA" || element.tagName === "SELECT" || element.isContentEditable) return true;
  return element.tagName === "INPUT" && !["range", "checkbox", "radio", "button"].includes(element.type);
}
