// Speaks: one socket for a page or program, made again with jitter when it is cut; credit given back after rendering;
// pings. What messages mean is decided in state.js; what is shown is the user's business (`draw`).

import * as state from "./state.js";

// A silence that a person would notice must be noticed here first; the hub itself asks for one ping each heartbeat.
const QUIET_MS = 2000;
const PING_MS = 5000;
// Longer than a message of the largest size takes at 20 KB/s: while bytes come, however slowly, nobody is dead.
const PONG_MS = 10_000;
const OVERDUE_MS = 1500;
const WELCOME_MS = 10_000;
// A try that has taken this long began when the network was away: when it is back, a new one is quicker.
const STUCK_MS = 1000;
// Ten seconds at most: whoever looks at a page does not wait longer than that for a hub that is back.
const BACKOFF_MS = { first: 500, most: 10_000 };
// A hub that restarts is back in a moment, and all its clients with it: they are spread over this.
const RESTART_MS = 2000;
const TOO_MANY_MS = 10_000;
const RETRY_SUB_MS = 3000;
const TICK_MS = 1000;
// A hub that welcomes and then fails is not to be asked twice a second: earlier failures count until this has passed.
const STEADY_MS = 10_000;
// Browsers draw no frames for a window that is covered: then rendering waits no longer than this.
const FRAME_MS = 250;
const CLOSE = { RESTART: 1012, SIGNED_OUT: 4401, ORIGIN: 4403, TOO_MANY: 4429 };
const REASONS = /** @type {Record<number, string>} */ ({
  [CLOSE.SIGNED_OUT]: "signed out",
  [CLOSE.ORIGIN]: "refused: the hub does not know this address (HUB_ORIGINS), or it is plain http://",
});

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").News} News */
/** @typedef {(state: State, news: News[]) => void | Promise<unknown>} Draw
 *   shows what is new; credit is given back when it has returned, or its promise is settled */

/**
 * @typedef {object} World  what a browser or Node gives; tests give their own
 * @property {() => any} open  opens a WebSocket
 * @property {() => number} now
 * @property {() => number} random
 * @property {(what: () => void, ms: number) => any} later
 * @property {(timer: any) => void} cancel
 * @property {(what: () => void) => void} frame  runs before the next repaint
 * @property {() => boolean} hidden
 */

export class Live {
  /** @param {World} world @param {Draw} draw @param {string} [token]  a program's; a page is known by its cookie */
  constructor(world, draw, token = "") {
    this.world = world;
    this.draw = draw;
    this.token = token;
    this.state = state.initial();
    /** @type {any} */
    this.socket = null;
    this.failures = 0;
    this.toldMs = 0; // when the hub takes this client again, as it said itself
    this.asked = { orders: 0, calls: 0, paths: 0 };
    this.due = 0;
    /** @type {News[]} */
    this.news = [];
    /** @type {Map<string, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.promises = new Map();
    this.scheduled = false;
    this.drawing = false;
    this.stopped = false;
    this.nextPing = 0;
    this.openedAt = 0;
    this.welcomeAt = 0;
    /** Whether this socket was welcomed, and whether the one before was shut as signed out all the same. */
    this.welcomed = false;
    this.renewing = false;
  }

  /** Connect, and stay so. */
  start() {
    this.#open();
    this.#ticking();
  }

  /** End, for good. */
  close() {
    this.stopped = true;
    this.#drop();
    this.#become(state.closed(this.state, { code: 1000, reason: "closed", retryAt: 0 }, this.world.now()));
  }

  /** @param {string} name @param {import("./types.js").Request} request */
  subscribe(name, request) {
    this.#become(state.want(this.state, name, request));
  }

  /** Stop, and keep the cursor. @param {string} name */
  pause(name) {
    this.#become(state.pause(this.state, name));
  }

  /** Go on where it stood. @param {string} name */
  resume(name) {
    this.#become(state.resume(this.state, name));
  }

  /** End a subscription and forget it. @param {string} name */
  leave(name) {
    this.#become(state.leave(this.state, name));
  }

  /**
   * Give a command; what becomes of it is found in state.asks and state.orders.
   * @param {string} device @param {string} name @param {unknown} args @param {import("./types.js").How} [how]
   * @returns {string} the ask's id
   */
  order(device, name, args, { key = this.#key(), ...how } = {}) {
    const id = `c${(this.asked.orders += 1)}`;
    this.#become(state.order(this.state, { id, device, name, args, key, ...how }, this.world.now()));
    return id;
  }

  #key() {
    return `${Math.floor(this.world.now()).toString(36)}-${this.world.random().toString(36).slice(2, 14)}`;
  }

  /**
   * Give a command; settled when the hub has taken or refused it.
   * @param {string} device @param {string} name @param {unknown} [args] @param {import("./types.js").How} [how]
   * @returns {Promise<{command: string, state: string, new: boolean}>}
   */
  command(device, name, args = null, how = {}) {
    return this.#promised(`c${this.asked.orders + 1}`, () => this.order(device, name, args, how));
  }

  /**
   * Change something as over REST. A refusal is an answer; an error says that nobody knows, or that it was not sent.
   * @param {"POST" | "PUT" | "PATCH" | "DELETE"} method @param {string} path  behind /api/v1/ @param {unknown} [body]
   * @returns {Promise<{status: number, body: any}>}
   */
  call(method, path, body) {
    const id = `k${(this.asked.calls += 1)}`;
    const wanted = { id, method, path, ...(body === undefined ? {} : { body }) };
    return this.#promised(id, () => this.#become(state.call(this.state, wanted, this.world.now())));
  }

  /** Ask how the whole path is, from the broker to here. @returns {Promise<any>} */
  path() {
    const id = `p${(this.asked.paths += 1)}`;
    return this.#promised(id, () => this.#become(state.askPath(this.state, id)));
  }

  /** @param {string} id @param {() => void} ask @returns {Promise<any>} */
  #promised(id, ask) {
    return new Promise((resolve, reject) => {
      this.promises.set(id, { resolve, reject });
      ask();
    });
  }

  /** Put in what the page read over HTTP. @param {(known: State) => State} change */
  learn(change) {
    this.#become(change(this.state));
  }

  /** Draw again, soon, although nothing came. */
  refresh() {
    this.#schedule();
  }

  /** The page came back, or the network did: look at once instead of when a timer says so. */
  wake() {
    if (this.stopped) return;
    this.#become(state.woke(this.state, this.world.now()));
    this.#flush();
    const { phase } = this.state.link;
    const stuck = phase === "connecting" && this.world.now() - this.openedAt > STUCK_MS;
    if (phase === "waiting" || stuck) this.#open();
    else if (this.state.link.phase === "up") this.#ping();
  }

  #open() {
    this.#drop();
    this.#become(state.opening(this.state));
    this.openedAt = this.world.now();
    this.welcomed = false;
    const socket = this.world.open();
    this.socket = socket;
    // Whoever is known is welcomed without a word; of all others the hub waits for a hello. Credit that nobody lent
    // counts for nothing, and has the hub say at once (4401) that it does not know this page.
    const first = this.token ? { type: "hello", token: this.token } : { type: "credit", n: 1 };
    socket.onopen = () => socket.send(JSON.stringify(first));
    socket.onmessage = (/** @type {{data: string}} */ event) => this.#hear(JSON.parse(event.data));
    socket.onclose = (/** @type {{code: number}} */ event) => this.#closed(event.code);
    socket.onerror = () => undefined; // the close that follows says all there is to say
  }

  /** Forget the socket; whatever it still says is not heard. */
  #drop() {
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
    this.due = 0;
  }

  /** @param {number} code */
  #closed(code) {
    this.#drop();
    const now = this.world.now();
    const pause = this.#pause(code);
    this.#become(state.closed(this.state, { code, reason: this.#reason(code), retryAt: pause === null ? 0 : now + pause }, now));
    if (pause === 0) this.#open();
    else if (pause !== null) this.world.later(() => this.tick(), pause);
  }

  /** Why there is no next try. @param {number} code */
  #reason(code) {
    return this.token && code === CLOSE.SIGNED_OUT ? "not known any more" : REASONS[code];
  }

  /** How long to wait before the next try; null: there is none. @param {number} code */
  #pause(code) {
    if (code === CLOSE.RESTART) return this.world.random() * RESTART_MS;
    if (code === CLOSE.SIGNED_OUT && this.welcomed && !this.renewing) {
      this.renewing = true; // another page of this browser may have signed in again since
      return 0;
    }
    if (REASONS[code]) return null;
    this.failures += 1;
    // Back-off with jitter, so that a thousand pages do not come back in one instant.
    const full = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** (this.failures - 1));
    return (code === CLOSE.TOO_MANY ? this.toldMs || TOO_MANY_MS : 0) + full * (0.5 + this.world.random() / 2);
  }

  /** @param {any} message */
  #hear(message) {
    const now = this.world.now();
    if (message.type === "data" || message.type === "fleet") this.due += 1;
    if (message.type === "err") this.toldMs = 1000 * (message.retry_after_s ?? 0);
    if (message.type === "err" && message.retry) this.#retrySub(message.id);
    if (message.type === "welcome") {
      this.welcomeAt = now;
      this.welcomed = true;
    }
    this.#become(state.reduce(this.state, message, now));
    if (message.type === "welcome") this.#ping();
  }

  /** @param {string} id */
  #retrySub(id) {
    const name = Object.keys(this.state.subs).find((one) => this.state.subs[one].id === id);
    if (!name) return;
    this.world.later(() => {
      const sub = this.state.subs[name];
      if (sub?.phase === "ended" && sub.id === id) this.subscribe(name, sub.request);
    }, RETRY_SUB_MS);
  }

  /** @param {State} next */
  #become(next) {
    this.state = next;
    this.news.push(...next.news);
    for (const message of next.send) this.#send(message);
    for (const { id, value, code, error } of next.outcomes) this.#settle(id, value, code, error);
    this.#schedule();
  }

  /** @param {object} message */
  #send(message) {
    if (this.socket && this.state.link.phase === "up") this.socket.send(JSON.stringify(message));
  }

  /** @param {string} id @param {any} value @param {string} [code] @param {string} [error] */
  #settle(id, value, code, error) {
    const promise = this.promises.get(id);
    this.promises.delete(id);
    if (error === undefined) promise?.resolve(value);
    else promise?.reject(Object.assign(new Error(error), { code }));
  }

  /** Render before the next repaint. A hidden page has none, and its timers sleep: it works off at once. */
  #schedule() {
    if (this.world.hidden()) {
      this.#flush();
      return;
    }
    if (this.scheduled) return;
    this.scheduled = true;
    const timer = this.world.later(() => this.#flush(), FRAME_MS);
    this.world.frame(() => {
      this.world.cancel(timer);
      this.#flush();
    });
  }

  /** Show what is new, then give credit for it: also when showing it failed, which must not stop what comes next. */
  #flush() {
    this.scheduled = false;
    if (this.drawing) return; // what comes meanwhile comes after it
    const { news, due, socket } = this;
    this.news = [];
    this.due = 0;
    const done = () => {
      if (due && socket === this.socket) this.#send({ type: "credit", n: due });
      if (this.drawing) {
        this.drawing = false;
        this.#schedule();
      }
    };
    /** @type {void | Promise<unknown>} */
    let drawing = undefined;
    try {
      drawing = this.draw(this.state, news);
      if (!this.world.hidden()) this.#drawn(news);
    } finally {
      this.drawing = drawing instanceof Promise;
      if (drawing instanceof Promise) drawing.finally(done);
      else done();
    }
  }

  /** @param {News[]} news */
  #drawn(news) {
    const ways = news.flatMap((one) => (one.kind === "rows" && one.way ? [one.way] : []));
    if (ways.length) this.state = state.drawn(this.state, ways, this.world.now());
  }

  #ping() {
    if (this.state.link.pingAt || this.state.link.phase !== "up") return;
    this.nextPing = this.world.now() + Math.min(PING_MS, this.state.heartbeat * 1000);
    this.#become(state.pinged(this.state, this.world.now()));
    this.#send({ type: "ping" });
    this.world.later(() => this.refresh(), OVERDUE_MS); // by then whoever draws may want to say that no answer came
  }

  #ticking() {
    if (this.stopped) return;
    this.tick();
    this.world.later(() => this.#ticking(), TICK_MS);
  }

  /** One look at the clock: what is overdue is given up, what is due is done. */
  tick() {
    if (this.stopped) return;
    const now = this.world.now();
    const { phase, pingAt, retryAt, heardAt } = this.state.link;
    if (phase === "up" && now - this.welcomeAt > STEADY_MS) {
      this.failures = 0;
      this.renewing = false;
    }
    const late = state.overdue(this.state, now);
    if (late !== this.state) this.#become(late);
    if (phase === "waiting" && now >= retryAt) this.#open();
    else if (phase === "connecting" && this.socket && now - this.openedAt > WELCOME_MS) this.#closed(0);
    else if (phase === "up" && pingAt && now - Math.max(pingAt, heardAt) > PONG_MS) this.#closed(0);
    else if (phase === "up" && !pingAt && (now >= this.nextPing || now - heardAt > QUIET_MS)) this.#ping();
    else this.#schedule();
  }
}
