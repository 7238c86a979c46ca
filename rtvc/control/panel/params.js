// The parameters' values: what the server holds, and on top of it what this page has changed and not yet seen confirmed.
//
// A write goes out at once, and then at most one a frame, latest value first. While a control is held, or a write is
// under way, the page shows its own value; echoes and other clients' changes wait below it.

import { readValue } from "./schema.js";

const BUSY = 801;
const BUSY_MS = 100;

export class Params {
  #send;
  #failed;
  #schema = new Map();
  #server = new Map();
  #revs = new Map();
  #mine = new Map();
  #pending = new Map();
  #watchers = new Map();
  #framed = false;

  /** send(values) resolves with {values, rev}; failed(error) tells of a refusal. */
  constructor(send, failed) {
    this.#send = send;
    this.#failed = failed;
    document.addEventListener("visibilitychange", () => this.#flush());
  }

  /** Take over the schema (as readParam returns it) and all values; what was under way is forgotten. */
  load(params, values, rev) {
    this.#schema = new Map(params.map((param) => [param.id, param]));
    this.#pending.clear();
    this.#mine.clear();
    this.#server.clear();
    this.#revs.clear();
    this.receive(values, rev);
  }

  has(id) {
    return this.#schema.has(id);
  }

  param(id) {
    return this.#schema.get(id);
  }

  value(id) {
    return this.#mine.has(id) ? this.#mine.get(id).value : this.#server.get(id);
  }

  /** Run fn(value, id) after every change of one of the ids; returns the function that ends it. */
  watch(ids, fn) {
    for (const id of ids) this.#watchers.set(id, (this.#watchers.get(id) ?? new Set()).add(fn));
    return () => ids.forEach((id) => this.#watchers.get(id).delete(fn));
  }

  /** Set values by hand. */
  set(values) {
    for (const [id, value] of Object.entries(values)) {
      this.#own(id).value = value;
      this.#pending.set(id, value);
      this.#tell(id);
    }
    if (!this.#framed) this.#flush();
  }

  /** A hand is on the control: nothing moves it. */
  hold(id) {
    this.#own(id).held = true;
  }

  release(id) {
    if (!this.#mine.has(id)) return;
    this.#mine.get(id).held = false;
    this.#settle(id);
  }

  /** Take over what the server says; an event may come after the answer to a later write, and is old news then. */
  receive(values, rev) {
    for (const [id, value] of Object.entries(values)) {
      if (!this.#schema.has(id) || rev < this.#revs.get(id)) continue;
      this.#revs.set(id, rev);
      this.#server.set(id, readValue(this.#schema.get(id), value));
      if (!this.#mine.has(id)) this.#tell(id);
    }
  }

  #own(id) {
    if (!this.#mine.has(id)) this.#mine.set(id, { value: this.#server.get(id), held: false, flying: 0 });
    return this.#mine.get(id);
  }

  #flush() {
    if (this.#pending.size === 0) return;
    const values = Object.fromEntries(this.#pending);
    this.#pending.clear();
    this.#framed = true;
    requestAnimationFrame(() => {
      this.#framed = false;
      this.#flush();
    });
    this.#write(values);
  }

  async #write(values) {
    const entries = Object.keys(values).map((id) => [id, this.#own(id)]);
    for (const [, entry] of entries) entry.flying += 1;
    try {
      const answer = await this.#send(values);
      this.receive(answer.values ?? values, answer.rev);
    } catch (error) {
      if (error.code === BUSY) this.#again(values);
      else this.#failed(error);
    }
    for (const [id, entry] of entries) {
      entry.flying -= 1;
      if (this.#mine.get(id) === entry) this.#settle(id);
    }
  }

  /** The server had enough for now: what was not replaced meanwhile is sent again. */
  #again(values) {
    for (const [id, value] of Object.entries(values)) {
      if (!this.#pending.has(id) && this.#mine.get(id)?.value === value) this.#pending.set(id, value);
    }
    setTimeout(() => this.#flush(), BUSY_MS);
  }

  #settle(id) {
    const { held, flying } = this.#mine.get(id);
    if (held || flying > 0 || this.#pending.has(id)) return;
    this.#mine.delete(id);
    this.#tell(id);
  }

  #tell(id) {
    for (const fn of this.#watchers.get(id) ?? []) fn(this.value(id), id);
  }
}
