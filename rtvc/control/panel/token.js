// Asks for the token when the server wants one. It is kept for this tab only, and never leaves the page in the clear.

import { make } from "./dom.js";
import { closeDialog, showDialog, textField } from "./dialogs.js";
import { t } from "./i18n.js";

let asking = false;

/** Ask whenever the session's phase says so. */
export function startToken(session) {
  session.store.watch(["phase", "reason"], () => {
    if (session.store.get("phase") === "token") ask(session);
    else if (asking) closeDialog();
  });
}

async function ask(session) {
  if (asking) return;
  asking = true;
  const { store } = session;
  const reason = store.get("reason");
  const [label, input] = textField("token", t("token.label"), { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const content = [make("p", { text: t(`token.${reason}`) })];
  if (reason !== "insecure") content.push(label, input, make("p", { class: "note", text: t("token.note") }));
  const connect = t(reason === "insecure" ? "banner.retry" : "token.connect");
  await showDialog(t("token.title"), content, [["connect", connect, "accent"]]);
  asking = false;
  if (store.get("phase") !== "token") return;
  if (reason === "insecure") session.link.connect();
  else session.useToken(input.value);
}
