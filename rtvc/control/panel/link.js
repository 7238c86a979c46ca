// The connection: obs-websocket 5 framing, requests by id, and a reconnect that backs off.
//
// Phases: connecting, token (the server asks who we are), open, offline (retryAt tells when the next try comes).

import { answer, canAnswer } from "./auth.js";

const HELLO = 0, IDENTIFY = 1, IDENTIFIED = 2, REIDENTIFY = 3, EVENT = 5, REQUEST = 6, RESPONSE = 7;
const REFUSED = 4009;
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;
const CONNECT_MS = 5000;
const REQUEST_MS = 8000;
const SLOW = { Start: 180000, Stop: 20000, SetDevice: 20000, SetMonitor: 20000, StopRecord: 20000, SaveFlight: 20000, SwitchVoice: 15000, UnlockVoices: 20000 }; // the very first start compiles
const SILENCE_MS = 6000;

/** A request the server refused (code > 0) or that got no answer (code 0). */
export class RequestError extends Error {
  constructor(type, code, comment) {
    super(comment || `${type}: ${code}`);
    this.type = type;
    this.code = code;
  }
}

export class Link {
  #url;
  #handlers;
  #mask;
  #socket = null;
  #token;
  #waiting = new Map();
  #nextId = 1;
  #failures = 0;
  #timer = 0;
  #heardAt = 0;
  #open = false;

  /** handlers: onPhase({phase, retryAt, reason}), onOpen(role), onEvent(type, data). */
  constructor(url, mask, token, handlers) {
    this.#url = url;
    this.#mask = mask;
    this.#token = token;
    this.#handlers = handlers;
    setInterval(() => this.#watch(), 2000);
  }

  /** Connect now, whatever the back-off says; token replaces the one used so far. */
  connect(token = this.#token) {
    this.#token = token;
    clearTimeout(this.#timer);
    this.#drop();
    this.#handlers.onPhase({ phase: "connecting" });
    const socket = new WebSocket(this.#url, "obswebsocket.json");
    this.#socket = socket;
    this.#timer = setTimeout(() => socket.close(), CONNECT_MS);
    socket.onmessage = (message) => this.#receive(socket, message.data);
    socket.onclose = (event) => this.#closed(socket, event.code);
  }

  /** Ask for other events; high-volume ones stop while nobody looks. */
  subscribe(mask) {
    if (mask === this.#mask) return;
    this.#mask = mask;
    if (this.#isOpen()) this.#send(REIDENTIFY, { eventSubscriptions: mask });
  }

  /** Send a request and resolve with its responseData; rejects with RequestError. */
  request(type, data = {}) {
    if (!this.#isOpen()) return Promise.reject(new RequestError(type, 0, ""));
    const requestId = String(this.#nextId++);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(requestId, null), SLOW[type] ?? REQUEST_MS);
      this.#waiting.set(requestId, { type, resolve, reject, timer });
      this.#send(REQUEST, { requestType: type, requestId, requestData: data });
    });
  }

  /** A socket that is about to close takes nothing any more. */
  #isOpen() {
    return this.#open && this.#socket.readyState === WebSocket.OPEN;
  }

  #send(op, d) {
    this.#socket.send(JSON.stringify({ op, d }));
  }

  async #receive(socket, text) {
    if (socket !== this.#socket) return;
    this.#heardAt = performance.now();
    const { op, d } = JSON.parse(text);
    if (op === EVENT) this.#handlers.onEvent(d.eventType, d.eventData ?? {});
    else if (op === RESPONSE) this.#settle(d.requestId, d);
    else if (op === HELLO) await this.#identify(socket, d.authentication);
    else if (op === IDENTIFIED && !this.#open) this.#identified(d.role ?? "admin");
  }

  async #identify(socket, challenge) {
    const identity = { rpcVersion: 1, eventSubscriptions: this.#mask };
    if (challenge) {
      if (!canAnswer()) return this.#ask("insecure");
      if (!this.#token) return this.#ask("needed");
      identity.authentication = await answer(this.#token, challenge);
    }
    if (socket === this.#socket) this.#send(IDENTIFY, identity);
  }

  #ask(reason) {
    clearTimeout(this.#timer);
    this.#drop();
    this.#handlers.onPhase({ phase: "token", reason });
  }

  #identified(role) {
    clearTimeout(this.#timer);
    this.#failures = 0;
    this.#open = true;
    this.#handlers.onPhase({ phase: "open" });
    this.#handlers.onOpen(role);
  }

  #settle(requestId, response) {
    const waiting = this.#waiting.get(requestId);
    if (!waiting) return;
    this.#waiting.delete(requestId);
    clearTimeout(waiting.timer);
    const status = response?.requestStatus;
    if (status?.result) waiting.resolve(response.responseData ?? {});
    else waiting.reject(new RequestError(waiting.type, status?.code ?? 0, status?.comment ?? ""));
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    this.#drop();
    clearTimeout(this.#timer);
    if (code === REFUSED) {
      this.#token = "";
      this.#handlers.onPhase({ phase: "token", reason: "refused" });
      return;
    }
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures) * (0.8 + 0.4 * Math.random());
    this.#failures += 1;
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#handlers.onPhase({ phase: "offline", retryAt: performance.now() + wait });
  }

  /** Forget the socket; every request under way fails. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    for (const requestId of [...this.#waiting.keys()]) this.#settle(requestId, null);
  }

  /** A connection can die without a word (sleep, Wi-Fi): when nothing was heard for long, ask; no answer ends it. */
  #watch() {
    if (!this.#open || performance.now() - this.#heardAt < SILENCE_MS) return;
    const socket = this.#socket;
    const timer = setTimeout(() => this.#closed(socket, 0), SILENCE_MS / 2);
    const answered = () => clearTimeout(timer);
    this.request("GetVersion").then(answered, answered);
  }
}
