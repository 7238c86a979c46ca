// One session with the server: loads everything when the connection opens, then follows the server's events.
//
// The store's names: phase, lost (the connection was there and is not), retryAt, reason, role, schema, voices, library (of the
// person's own voices: state and reason), mine (the one of them that voice.timbre = mine means), presets, preset, modified, status, stats,
// canUndo, canRedo, devices, monitor, recording, muted, panic, bypass. What lies in `params` is not repeated there.

import { currentLanguage, errorText, t } from "./i18n.js";
import { Link } from "./link.js";
import { Params } from "./params.js";
import { readParam } from "./schema.js";
import { Store } from "./store.js";
import { complain } from "./toast.js";

const CHANGES = 0b111111;
const METERS = 1 << 16;
const TRACE = 1 << 17;
const POLL_MS = 1000;
const TOKEN = "rtvc.token";
const STOPPED = new Set(["stopped", "failed"]);

export const isRunning = (status) => Boolean(status) && !STOPPED.has(status.state);

export class Session {
  constructor(url) {
    this.store = new Store({
      phase: "connecting", lost: false, retryAt: 0, reason: "", role: "viewer", schema: [], voices: [], library: { state: "none", reason: "" }, mine: null, presets: [], preset: null, modified: false,
      canUndo: false, canRedo: false, status: null, stats: null, devices: null, monitor: null, recording: null, muted: false, panic: false, bypass: null,
    });
    this.params = new Params((values) => this.link.request("SetParam", { values }), (error) => this.tell(error));
    this.meters = new Set();
    this.traces = new Set();
    this.link = new Link(url, this.#mask(), sessionStorage.getItem(TOKEN) ?? "", {
      onPhase: (phase) => this.#phase(phase),
      onOpen: (role) => this.#load(role),
      onEvent: (type, data) => this.#event(type, data),
    });
    document.addEventListener("visibilitychange", () => this.link.subscribe(this.#mask()));
    window.addEventListener("online", () => this.store.get("phase") === "offline" && this.link.connect());
    setInterval(() => this.#poll(), POLL_MS);
  }

  /** Try this token; it is kept until the tab closes. */
  useToken(token) {
    sessionStorage.setItem(TOKEN, token);
    this.link.connect(token);
  }

  /** Ask the server to do something; a refusal is told to the person and gives null. */
  async act(type, data) {
    try {
      return await this.link.request(type, data);
    } catch (error) {
      this.tell(error);
      return null;
    }
  }

  tell(error) {
    if (error.code !== 0 || this.store.get("phase") === "open") complain(errorText(error));
  }

  /** Return whether this client may change anything now. */
  mayAct() {
    return this.store.get("phase") === "open" && this.store.get("role") !== "viewer";
  }

  async refreshDevices() {
    await this.#ask("ListDevices", {}, (devices) => ({ devices }));
  }

  async refreshMonitor() {
    await this.#ask("GetMonitor", {}, (monitor) => ({ monitor }));
  }

  #phase({ phase, retryAt = 0, reason = "" }) {
    const lost = phase === "offline" || (phase === "connecting" && this.store.get("lost"));
    if (reason === "refused") sessionStorage.removeItem(TOKEN);
    this.store.set({ phase, lost, retryAt, reason });
  }

  #mask() {
    return document.hidden ? CHANGES : CHANGES | METERS | TRACE;
  }

  /** Request and keep what it tells; what one role may not ask for stays as it was. */
  async #ask(type, data, keep) {
    try {
      this.store.set(keep(await this.link.request(type, data)));
    } catch {
      // shown as missing
    }
  }

  async #load(role) {
    this.store.set({ role });
    try {
      const [listed] = await Promise.all([this.link.request("ListParams"), this.#loadLists(), this.#status()]);
      const schema = listed.params.map(readParam);
      this.params.load(schema, Object.fromEntries(listed.params.map(({ id, value }) => [id, value])), listed.rev);
      this.store.set({ schema });
    } catch (error) {
      this.tell(error);
    }
    this.#poll();
  }

  #loadLists() {
    return Promise.all([
      this.#loadVoices(),
      this.#loadPresets(),
      this.refreshDevices(),
    ]);
  }

  #loadVoices() {
    return this.#ask("ListVoices", {}, ({ voices, library, current }) => ({ voices, library, mine: current.mine }));
  }

  #loadPresets() {
    return this.#ask("ListPresets", {}, ({ presets, current, modified }) => ({ presets, preset: current, modified }));
  }

  #status() {
    return this.#ask("GetStatus", {}, (status) => ({
      status, muted: status.muted, panic: status.panic, bypass: status.bypass, recording: status.recording, monitor: status.monitor,
      canUndo: status.can_undo, canRedo: status.can_redo, modified: status.preset_modified,
    }));
  }

  #poll() {
    if (this.store.get("phase") !== "open" || document.hidden) return;
    this.#status();
    this.#ask("GetStats", {}, (stats) => ({ stats }));
  }

  #event(type, data) {
    const { store } = this;
    if (type === "Meters") this.meters.forEach((fn) => fn(data));
    else if (type === "Trace") this.traces.forEach((fn) => fn(data));
    else if (type === "ParamsChanged") this.#changed(data);
    else if (type === "StateChanged") {
      store.set({ status: { ...store.get("status"), ...data } });
      this.#status();
    } else if (type === "MuteChanged") store.set({ muted: data.muted });
    else if (type === "PanicChanged") store.set({ panic: data.on });
    else if (type === "BypassChanged") store.set({ bypass: { ...store.get("bypass"), active: data.active } });
    else if (type === "PresetLoaded") store.set({ preset: data.name, modified: false });
    else if (type === "PresetListChanged") this.#loadPresets();
    else if (type === "VoiceListChanged") this.#loadVoices();
    else if (type === "OwnVoiceChanged") this.#ownChanged(data);
    else if (type === "RecordStateChanged") {
      store.set({ recording: data });
      if (data.error) complain(t("record.failed", { error: data.error }));
    } else if (type === "DevicesChanged") this.refreshDevices();
    else if (type === "MonitorChanged") store.set({ monitor: { ...store.get("monitor"), ...data } });
  }

  #ownChanged({ name, reason, instead }) {
    const before = this.store.get("mine");
    this.store.set({ mine: name });
    if (!reason) return;
    complain(t("voices.withdrawn", { name: before ?? "", reason: currentLanguage() === "en" ? reason : "", instead }));
    this.#loadVoices();
  }

  #changed({ values, rev, can_undo, can_redo, preset_modified }) {
    this.params.receive(values, rev);
    this.store.set({ canUndo: can_undo, canRedo: can_redo, modified: preset_modified });
  }
}
