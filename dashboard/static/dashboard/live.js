// Speaks: one socket for a page, made again with jitter when it is cut; credit given back after rendering; pings.
// What messages mean is decided in state.js; what is shown is the page's business (`render`).

import * as state from "./state.js";

// A silence that a person would notice must be noticed here first; the hub itself asks for one ping each heartbeat.
const PING_MS = 5000;
const PONG_MS = 8000;
const WELCOME_MS = 10_000;
// Ten seconds at most: whoever looks at a page does not wait longer than that for a hub that is back.
const BACKOFF_MS = { first: 500, most: 10_000 };
const TOO_MANY_MS = 10_000;
const RETRY_SUB_MS = 3000;
const TICK_MS = 1000;
// A hub that welcomes and then fails is not to be asked twice a second: earlier failures count until this has passed.
const STEADY_MS = 10_000;
// Browsers draw no frames for a window that is covered: then rendering waits no longer than this.
const FRAME_MS = 250;
const CLOSE = { SIGNED_OUT: 4401, ORIGIN: 4403, TOO_MANY: 4429 };
const REASONS = /** @type {Record<number, string>} */ ({
  [CLOSE.SIGNED_OUT]: "signed out: reload to sign in",
  [CLOSE.ORIGIN]: "refused: the hub does not know this address (HUB_ORIGINS)",
});

/**
 * @typedef {object} World  what a browser gives; tests give their own
 * @property {() => any} open  opens a WebSocket
 * @property {() => number} now
 * @property {() => number} random
 * @property {(what: () => void, ms: number) => any} later
 * @property {(timer: any) => void} cancel
 * @property {(what: () => void) => void} frame  runs before the next repaint
 * @property {() => boolean} hidden
 */

export class Live {
  /**
   * @param {World} world
   * @param {(state: state.State, taken: state.Taken[], touched: Set<string>) => void} render  with what is new
   */
  constructor(world, render) {
    this.world = world;
    this.render = render;
    this.state = state.initial();
    /** @type {any} */
    this.socket = null;
    this.failures = 0;
    this.asks = 0;
    this.due = 0;
    /** @type {state.Taken[]} */
    this.taken = [];
    /** @type {Set<string>} */
    this.touched = new Set();
    this.scheduled = false;
    this.nextPing = 0;
    this.openedAt = 0;
    this.welcomeAt = 0;
  }

  /** Connect, and stay so. */
  start() {
    this.#open();
    this.#ticking();
  }

  /** @param {string} name @param {state.Request} request */
  subscribe(name, request) {
    this.#become(state.want(this.state, name, request));
  }

  /**
   * Give a command; what becomes of it is found in state.asks and state.orders.
   * @param {string} device @param {string} name @param {unknown} args @returns {string} the ask's id
   */
  order(device, name, args) {
    this.asks += 1;
    const id = `c${this.asks}`;
    const key = `${Math.floor(this.world.now()).toString(36)}-${this.world.random().toString(36).slice(2, 14)}`;
    this.#become(state.order(this.state, { id, device, name, args, key }, this.world.now()));
    return id;
  }

  /** Put in what the page read over HTTP. @param {(known: state.State) => state.State} change */
  learn(change) {
    this.#become(change(this.state));
  }

  /** The page came back, or the network did: look at once instead of when a timer says so. */
  wake() {
    if (this.state.link.phase === "waiting") this.#open();
    else if (this.state.link.phase === "up") this.#ping();
  }

  #open() {
    this.#drop();
    this.#become(state.opening(this.state));
    this.openedAt = this.world.now();
    const socket = this.world.open();
    this.socket = socket;
    socket.onmessage = (/** @type {{data: string}} */ event) => this.#hear(JSON.parse(event.data));
    socket.onclose = (/** @type {{code: number}} */ event) => this.#closed(event.code);
  }

  /** Forget the socket; whatever it still says is not heard. */
  #drop() {
    if (!this.socket) return;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  /** @param {number} code */
  #closed(code) {
    this.#drop();
    this.due = 0;
    this.failures += 1;
    const now = this.world.now();
    const retryAt = REASONS[code] ? 0 : now + this.#pause(code);
    this.#become(state.closed(this.state, { code, reason: REASONS[code], retryAt }, now));
  }

  /** Back-off with jitter, so that a thousand pages do not come back in one instant. @param {number} code */
  #pause(code) {
    const full = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** (this.failures - 1));
    return (code === CLOSE.TOO_MANY ? TOO_MANY_MS : 0) + full * (0.5 + this.world.random() / 2);
  }

  /** @param {any} message */
  #hear(message) {
    const now = this.world.now();
    if (message.type === "data") this.due += 1;
    if (message.type === "welcome") this.welcomeAt = now;
    if (message.type === "err" && message.retry) this.#retrySub(message.id);
    this.#become(state.reduce(this.state, message, now));
    if (message.type === "welcome") this.#ping();
  }

  /** @param {string} id */
  #retrySub(id) {
    const name = Object.keys(this.state.subs).find((one) => this.state.subs[one].id === id);
    if (!name) return;
    this.world.later(() => {
      const sub = this.state.subs[name];
      if (sub.phase === "ended" && sub.id === id) this.subscribe(name, sub.request);
    }, RETRY_SUB_MS);
  }

  /** @param {state.State} next */
  #become(next) {
    this.state = next;
    this.taken.push(...next.taken);
    for (const key of next.touched) this.touched.add(key);
    for (const message of next.send) this.#send(message);
    this.#schedule();
  }

  /** @param {object} message */
  #send(message) {
    if (this.socket && this.state.link.phase === "up") this.socket.send(JSON.stringify(message));
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

  #flush() {
    this.scheduled = false;
    const { taken, touched, due } = this;
    this.taken = [];
    this.touched = new Set();
    this.due = 0;
    this.render(this.state, taken, touched);
    if (due) this.#send({ type: "credit", n: due });
  }

  #ping() {
    if (this.state.link.pingAt || this.state.link.phase !== "up") return;
    this.nextPing = this.world.now() + Math.min(PING_MS, this.state.heartbeat * 1000);
    this.#become(state.pinged(this.state, this.world.now()));
    this.#send({ type: "ping" });
  }

  #ticking() {
    this.tick();
    this.world.later(() => this.#ticking(), TICK_MS);
  }

  /** One look at the clock: what is overdue is given up, what is due is done. */
  tick() {
    const now = this.world.now();
    const { phase, pingAt, retryAt } = this.state.link;
    if (phase === "up" && now - this.welcomeAt > STEADY_MS) this.failures = 0;
    if (phase === "waiting" && now >= retryAt) this.#open();
    else if (phase === "connecting" && this.socket && now - this.openedAt > WELCOME_MS) this.#closed(0);
    else if (phase === "up" && pingAt && now - pingAt > PONG_MS) this.#closed(0);
    else if (phase === "up" && !pingAt && now >= this.nextPing) this.#ping();
    else this.#schedule();
  }
}

/** The browser as a World. @returns {World} */
export function browser() {
  const address = new URL("/ws/v1/live/", window.location.href);
  address.protocol = address.protocol.replace("http", "ws");
  return {
    open: () => new WebSocket(address),
    now: () => Date.now(), // unlike performance.now, it goes on while the machine sleeps
    random: Math.random,
    later: (what, ms) => setTimeout(what, ms),
    cancel: (timer) => clearTimeout(timer),
    frame: (what) => requestAnimationFrame(what),
    hidden: () => document.hidden,
  };
}

/**
 * A page's live connection: started, and woken when the page or the network comes back.
 * @param {(state: state.State, taken: state.Taken[], touched: Set<string>) => void} render
 * @returns {Live}
 */
export function connect(render) {
  const live = new Live(browser(), render);
  document.addEventListener("visibilitychange", () => document.hidden || live.wake());
  window.addEventListener("online", () => live.wake());
  window.addEventListener("pageshow", () => live.wake());
  return live;
}
