// The page's state: named values and those who watch them. Watchers run once per burst of changes.

export class Store {
  #values;
  #watchers = new Set();
  #changed = new Set();

  constructor(values) {
    this.#values = { ...values };
  }

  get(name) {
    return this.#values[name];
  }

  /** Take over changes; whoever watches one of the names hears of it before the next task. */
  set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (Object.is(this.#values[name], value)) continue;
      this.#values[name] = value;
      if (this.#changed.size === 0) queueMicrotask(() => this.#tell());
      this.#changed.add(name);
    }
  }

  /** Run fn(get) now and after every change of one of the names. */
  watch(names, fn) {
    this.#watchers.add({ names, fn });
    fn(this);
  }

  #tell() {
    const changed = new Set(this.#changed);
    this.#changed.clear();
    for (const { names, fn } of this.#watchers) {
      if (names.some((name) => changed.has(name))) fn(this);
    }
  }
}
