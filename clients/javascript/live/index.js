// The door: `connect` gives a hub that stays connected. In a browser it is known by the session's cookie, and woken
// when the page or the network comes back; in Node (22 or newer) by a token.

import { Live } from "./live.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").News} News */
/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./types.js").Sub} Sub */

/**
 * @typedef {object} Handlers  each may return a promise: the next is called, and credit given back, when it is settled
 * @property {(device: string, rows: Row[], phase: string) => unknown} [rows]  each row once, in order
 * @property {(device: string, presence: import("./types.js").Presence) => unknown} [state]
 * @property {(device: string, about: import("./types.js").About) => unknown} [device]  its registration changed
 * @property {(device: string, settings: import("./types.js").Settings) => unknown} [settings]  what it shall keep to and keeps to changed
 * @property {(order: import("./types.js").Order) => unknown} [order]  a command of the device, with its evidence so far
 * @property {(devices: Record<string, import("./types.js").Summary | null>) => unknown} [fleet]  null: not in it any more
 * @property {() => unknown} [live]  history ends here
 * @property {(gap: import("./types.js").Gap) => unknown} [gap]  these cannot be had
 * @property {(devices: Record<string, number>) => unknown} [lag]  so many were skipped: this client is too slow
 * @property {(reason: string, message: string) => unknown} [ended]  and comes no more
 */

/**
 * @typedef {object} Options
 * @property {string | URL} [url]  wss://host/ws/v1/live/; a page's own hub if left out
 * @property {string} [token]  of POST /api/v1/tokens/; a page needs none
 * @property {(state: State, news: News[]) => void | Promise<unknown>} [onChange]  for whoever draws everything at once
 * @property {import("./live.js").World} [world]  a test's
 */

/** One subscription, as its user holds it. */
export class Watch {
  /** @param {Hub} hub @param {string} name @param {Handlers} handlers */
  constructor(hub, name, handlers) {
    this.hub = hub;
    this.name = name;
    this.handlers = handlers;
  }

  /** Where it stands: phase, cursor, gaps, the replay's clock (`at`). @returns {Sub | undefined} */
  get sub() {
    return this.hub.state.subs[this.name];
  }

  /** Stop, and keep the cursor (and the replay's clock). */
  pause() {
    this.hub.pause(this.name);
  }

  /** Go on where it stood. */
  resume() {
    this.hub.resume(this.name);
  }

  /** Begin anew with another request. @param {import("./types.js").Request} request */
  change(request) {
    this.hub.subscribe(this.name, request);
  }

  /** End it. */
  close() {
    this.hub.watches.delete(this.name);
    this.hub.leave(this.name);
  }
}

/** A connection that stays, and what is watched through it. */
export class Hub extends Live {
  /** @param {Options} options */
  constructor({ url, token, onChange, world }) {
    super(world ?? ("document" in globalThis ? browser(url) : node(url)), (state, news) => this.#tell(state, news, onChange), token);
    /** @type {Map<string, Watch>} */
    this.watches = new Map();
    this.made = 0;
  }

  /**
   * Follow devices, or a fleet's summary; or replay what was.
   * @param {import("./types.js").Request} request @param {Handlers} [handlers] @param {string} [name]
   * @returns {Watch}
   */
  watch(request, handlers = {}, name = `w${(this.made += 1)}`) {
    const watch = new Watch(this, name, handlers);
    this.watches.set(name, watch);
    this.subscribe(name, request);
    return watch;
  }

  /** @param {State} state @param {News[]} news @param {Options["onChange"]} onChange @returns {Promise<void> | void} */
  #tell(state, news, onChange) {
    const watches = [...this.watches.values()];
    const steps = news.flatMap((one) => watches.map((watch) => () => told(watch, state, one)));
    return inTurn([...steps, () => onChange?.(state, news)]);
  }
}

/**
 * One after the other, at once as far as nothing has to be waited for. A fault in one keeps nothing from the others.
 * @param {(() => unknown)[]} steps @param {unknown[]} [faults] @returns {Promise<void> | void}
 */
function inTurn(steps, faults = []) {
  for (const [index, step] of steps.entries()) {
    try {
      const waits = step();
      const rest = () => inTurn(steps.slice(index + 1), faults);
      if (waits instanceof Promise) return waits.catch((fault) => faults.push(fault)).then(rest);
    } catch (fault) {
      faults.push(fault);
    }
  }
  if (faults.length) throw faults[0];
}

/** Call the handler that one piece of news is for. @param {Watch} watch @param {State} state @param {News} one @returns {unknown} */
function told({ name, handlers }, state, one) {
  if ("sub" in one && one.sub !== name) return undefined;
  const sub = state.subs[name];
  if (!("sub" in one) && !sub?.request.devices?.includes(one.device)) return undefined;
  switch (one.kind) {
    case "rows": return handlers.rows?.(one.device, one.rows, one.phase);
    case "state": return handlers.state?.(one.device, state.devices[one.device]);
    case "device": return handlers.device?.(one.device, state.about[one.device]);
    case "settings": return handlers.settings?.(one.device, state.settings[one.device]);
    case "order": return handlers.order?.(state.orders[one.order]);
    case "fleet": return handlers.fleet?.(Object.fromEntries(one.devices.map((key) => [key, state.fleet[key] ?? null])));
    case "live": return handlers.live?.();
    case "gap": return handlers.gap?.({ device: one.device, from: one.from, to: one.to, cause: one.cause });
    case "lag": return handlers.lag?.(one.devices);
    case "ended": return handlers.ended?.(sub?.reason ?? "", sub?.error ?? "");
    default: return undefined;
  }
}

/**
 * Connect, and stay so.
 * @param {Options} [options] @returns {Hub}
 */
export function connect(options = {}) {
  const hub = new Hub(options);
  if ("document" in globalThis && !options.world) wakeful(hub);
  queueMicrotask(() => hub.start()); // after what its user does with it at once, even where nothing is drawn later
  return hub;
}

/** Look at once when the page or the network comes back. @param {Hub} hub */
function wakeful(hub) {
  document.addEventListener("visibilitychange", () => document.hidden || hub.wake());
  document.addEventListener("resume", () => hub.wake()); // a frozen page runs on
  window.addEventListener("online", () => hub.wake());
  window.addEventListener("pageshow", (event) => event.persisted && hub.wake());
}

const clock = {
  now: () => Date.now(), // unlike performance.now, it goes on while the machine sleeps
  random: Math.random,
  later: (/** @type {() => void} */ what, /** @type {number} */ ms) => setTimeout(what, ms),
  cancel: (/** @type {any} */ timer) => clearTimeout(timer),
};

/** The browser as a World. @param {string | URL} [url] @returns {import("./live.js").World} */
function browser(url = "/ws/v1/live/") {
  const address = new URL(url, window.location.href);
  address.protocol = address.protocol.replace("http", "ws");
  return { ...clock, open: () => new WebSocket(address), frame: (what) => requestAnimationFrame(what), hidden: () => document.hidden };
}

/** Node as a World. @param {string | URL} [url] @returns {import("./live.js").World} */
function node(url) {
  if (!url) throw new TypeError("connect needs the hub's address: {url: \"wss://hub.example/ws/v1/live/\", token}");
  if (!("WebSocket" in globalThis)) throw new TypeError("this Node has no WebSocket: use Node 22 or newer (20: --experimental-websocket)");
  return { ...clock, open: () => new WebSocket(url), frame: (what) => setTimeout(what, 0), hidden: () => false };
}
