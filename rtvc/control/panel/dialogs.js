// One dialog element for everything that asks: the token, a preset's name, a confirmation, the list of keys.

import { byId, make } from "./dom.js";
import { t } from "./i18n.js";

/** Show a dialog with title and content; resolves with the value of the button pressed, "" if it was dismissed. */
export function showDialog(title, content, buttons) {
  const dialog = byId("dialog");
  const form = make("form", { method: "dialog" });
  const row = buttons.map(([value, text, style], index) =>
    make("button", { type: index === 0 ? "submit" : "button", class: `plain ${style ?? ""}`, value, text }),
  );
  form.append(make("h2", { id: "dialog-title", text: title }), ...content, make("div", { class: "dialog-buttons" }, ...row));
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close(buttons[0][0]);
    });
    for (const button of row.slice(1)) button.addEventListener("click", () => dialog.close(button.value));
    dialog.onclose = () => resolve(dialog.returnValue);
    if (!dialog.open) dialog.showModal();
  });
}

export const isDialogOpen = () => byId("dialog").open;

export function closeDialog() {
  if (isDialogOpen()) byId("dialog").close("");
}

/** Ask a question that "yes" answers; resolves true or false. */
export async function confirmed(title, text, yes, style = "danger") {
  const answer = await showDialog(title, [make("p", { text })], [["yes", yes, style], ["", t("dialog.cancel")]]);
  return answer === "yes";
}

/** Return a labelled text field as [label, input]. */
export function textField(id, label, attributes = {}) {
  const input = make("input", { id, name: id, ...attributes });
  return [make("label", { for: id, text: label }), input];
}
