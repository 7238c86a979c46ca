// Which microphone is heard and where the voice goes. Changing one restarts the streams, which is heard as a short gap.

import { byId, make, setText } from "./dom.js";
import { t } from "./i18n.js";
import { say } from "./toast.js";

const SIDES = ["capture", "playback"];

/** Build the two lists; returns the function that puts their texts anew. */
export function startDevices(session) {
  const { store } = session;
  const empty = make("p", { class: "empty" });
  const note = make("p", { class: "note" });
  const fields = SIDES.map((side) => {
    const label = make("label", { for: `device-${side}` });
    const select = make("select", { id: `device-${side}`, onchange: () => choose(session, side, select) });
    select.addEventListener("pointerdown", () => session.refreshDevices());
    return { side, label, select };
  });
  const body = make("div", { class: "devices" }, ...fields.flatMap(({ label, select }) => [label, select]), note);
  byId("devices").append(empty, body);
  const draw = () => {
    const devices = store.get("devices");
    body.hidden = !devices;
    empty.hidden = Boolean(devices);
    setText(empty, t("devices.empty"));
    const allowed = store.get("role") === "admin";
    setText(note, t(allowed ? "devices.note" : "devices.admin"));
    for (const field of fields) {
      drawSide(field, devices);
      field.select.disabled = !allowed;
    }
  };
  store.watch(["devices", "role"], draw);
  return draw;
}

function drawSide({ side, label, select }, devices) {
  setText(label, t(`devices.${side}`));
  const listed = devices?.[side] ?? [];
  const current = devices?.current?.[side] ?? "";
  const options = listed.map((device) => [device.id, `${device.label}${device.default ? ` (${t("devices.default")})` : ""}`]);
  if (!listed.some((device) => device.id === current)) options.unshift([current ?? "", current || t("devices.none")]);
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
  }
  if (document.activeElement !== select || select.value !== current) select.value = current;
}

async function choose(session, side, select) {
  const done = await session.act("SetDevice", { [side]: select.value });
  if (done) say(t("devices.changed"));
  await session.refreshDevices();
}
