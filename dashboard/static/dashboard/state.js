// PURE. What a page knows of the hub, and what each message makes of it. No DOM, no clock, no socket: `now` is given.
//
// The cursor rule: a row is taken when its seq is behind the cursor, once. `prev` beyond the cursor is a hole: the
// rows are left, and the subscription begins again from the cursor, unless the hub told of the hole (`lag`, `gap`).
//
// A subscription keeps its name for the page; on the wire it gets a new id each time it is made, so that messages of
// an older one still under way are told from those of the newer.

/** @typedef {[number, number, Record<string, import("./format.js").Value>, number?]} Row  seq, ts, values, flags */
/** @typedef {{device: string, sub: string, phase: string, rows: Row[]}} Taken  rows that this step brought */
/** @typedef {{devices?: string[], fleet?: string, metrics?: string[], mode?: string,
 *   since?: {last_s: number} | null}} Request */
/** @typedef {{request: Request, id: string, made: number, phase: "wanted" | "asked" | "history" | "live" | "ended",
 *   wasLive: boolean, cursor: Record<string, number>, forgiven: Record<string, boolean>, recovered: boolean,
 *   gaps: {device: string, from: number, to: number, cause: string}[], error: string, retry: boolean}} Sub */
/** @typedef {{state: string, at: number, proof: string, message: string, progress: number | null}} Evidence */
/** @typedef {{id: string, device: string, name: string, args: unknown, by: string, state: string,
 *   events: Evidence[]}} Order */
/** @typedef {{id: string, device: string, name: string, args: unknown, key: string, at: number, command: string,
 *   error: string}} Ask  what this page asked for and the hub has not confirmed, or refused */
/** @typedef {{presence: string, because: string, since: number}} Presence */
/** @typedef {Presence & {name: string, values: Record<string, import("./format.js").Value>,
 *   times: Record<string, number>, ts: number | null, seq: number}} Summary */
/** @typedef {{phase: "connecting" | "up" | "waiting" | "refused", code: number, lostAt: number, retryAt: number,
 *   pingAt: number, rtt: number, heardAt: number, lagAt: number, reason: string}} Link  0: not so */
/** @typedef {{storing: boolean, because: string, since: number}} Hub  whether readings are being stored */
/** @typedef {{link: Link, hub: Hub, skew: number, heartbeat: number, subs: Record<string, Sub>,
 *   fleet: Record<string, Summary>, devices: Record<string, Presence>, orders: Record<string, Order>,
 *   asks: Record<string, Ask>, counts: {frames: number, known: number, holes: number, coalesced: number, lost: number},
 *   taken: Taken[], touched: string[], send: object[]}} State
 *   taken, touched (devices of the fleet) and send are of the last step alone */

/** @returns {State} */
export function initial() {
  return {
    link: {
      phase: "connecting", code: 0, lostAt: 0, retryAt: 0, pingAt: 0, rtt: 0, heardAt: 0, lagAt: 0, reason: "",
    },
    hub: { storing: true, because: "", since: 0 },
    skew: 0,
    heartbeat: 20,
    subs: {},
    fleet: {},
    devices: {},
    orders: {},
    asks: {},
    counts: { frames: 0, known: 0, holes: 0, coalesced: 0, lost: 0 },
    taken: [],
    touched: [],
    send: [],
  };
}

// How long an order that the hub has not confirmed is asked again, under the same key, after a cut.
const ASK_AGAIN_MS = 30_000;
const GAPS_KEPT = 20;

/** @param {State} state @returns {State} */
const fresh = (state) => ({ ...state, taken: [], touched: [], send: [] });

/**
 * Subscribe; at once when the socket is up, else with the next welcome.
 * @param {State} state @param {string} name @param {Request} request @returns {State}
 */
export function want(state, name, request) {
  const old = state.subs[name];
  /** @type {Sub} */
  const sub = {
    request, id: "", made: old ? old.made : 0, phase: "wanted", wasLive: false, cursor: {}, forgiven: {},
    recovered: true, gaps: [], error: "", retry: false,
  };
  const next = { ...fresh(state), subs: { ...state.subs, [name]: sub } };
  if (state.link.phase !== "up") return next;
  if (old && (old.phase === "asked" || old.phase === "history" || old.phase === "live")) {
    next.send = [{ type: "unsub", id: old.id }];
  }
  return asked(next, name);
}

/** @param {State} state @param {string} name @param {boolean} [byCursor] @returns {State} */
function asked(state, name, byCursor = state.subs[name].wasLive) {
  const sub = state.subs[name];
  const made = sub.made + 1;
  const { since, ...rest } = sub.request;
  const behind = byCursor && Object.keys(sub.cursor).length ? { cursor: sub.cursor } : since;
  const id = `${name}.${made}`;
  const message = { type: "sub", id, ...rest, ...(sub.request.fleet ? {} : { since: behind ?? null }) };
  /** @type {Sub} */
  const next = { ...sub, id, made, phase: "asked", forgiven: {}, error: "", retry: false };
  return { ...state, subs: { ...state.subs, [name]: next }, send: [...state.send, message] };
}

/**
 * Give a command. `key` makes asking again after a cut harmless.
 * @param {State} state @param {{id: string, device: string, name: string, args: unknown, key: string}} order
 * @param {number} now @returns {State}
 */
export function order(state, order, now) {
  const ask = { ...order, at: now, command: "", error: "" };
  const next = { ...fresh(state), asks: { ...state.asks, [order.id]: ask } };
  if (state.link.phase === "up") next.send = [command(ask)];
  return next;
}

/** @param {Ask} ask @returns {object} */
const command = ({ id, device, name, args, key }) => ({ type: "cmd", id, device, name, args, key });

/**
 * A ping was sent.
 * @param {State} state @param {number} now @returns {State}
 */
export const pinged = (state, now) => ({ ...fresh(state), link: { ...state.link, pingAt: now } });

/**
 * The socket is gone; it will be tried again at `retryAt`, or never (0).
 * @param {State} state @param {{code: number, reason?: string, retryAt: number}} how @param {number} now @returns {State}
 */
export function closed(state, { code, reason = "", retryAt }, now) {
  const lostAt = state.link.lostAt || now;
  const phase = retryAt ? "waiting" : "refused";
  return { ...fresh(state), link: { ...state.link, phase, code, reason, lostAt, retryAt, pingAt: 0, rtt: 0 } };
}

/**
 * A new socket is being opened.
 * @param {State} state @returns {State}
 */
export const opening = (state) => ({ ...fresh(state), link: { ...state.link, phase: "connecting", retryAt: 0, pingAt: 0 } });

/**
 * Take one message of the hub.
 * @param {State} before @param {any} message @param {number} now @returns {State}
 */
export function reduce(before, message, now) {
  const state = { ...fresh(before), link: { ...before.link, heardAt: now } };
  switch (message.type) {
    case "welcome": return welcome(state, message, now);
    case "pong": return { ...state, link: { ...state.link, rtt: Math.max(1, now - (state.link.pingAt || now)), pingAt: 0 } };
    case "ok": return message.command ? confirmed(state, message) : accepted(state, message);
    case "data": return data(state, message);
    case "live": return changed(state, message.id, reachedLive);
    case "lag": return lag(state, message, now);
    case "gap": return gap(state, message);
    case "state": return presence(state, message);
    case "fleet": return fleet(state, message);
    case "cmd_state": return evidence(state, message);
    case "hub": return { ...state, hub: { storing: message.storing, because: message.because, since: message.since } };
    case "err": return refused(state, message);
    case "end": return changed(state, message.id, (sub) => ({ ...sub, phase: "ended", error: message.reason }));
    default: return state; // a newer hub may say more
  }
}

/** @param {State} state @param {any} message @param {number} now @returns {State} */
function welcome(state, message, now) {
  /** @type {Link} */
  const link = { ...state.link, phase: "up", code: 0, lostAt: 0, retryAt: 0, reason: "" };
  /** @type {State} */
  let next = { ...state, link, hub: initial().hub, skew: message.server_ts - now, heartbeat: message.heartbeat_s };
  for (const [name, sub] of Object.entries(state.subs)) {
    if (sub.phase !== "ended") next = asked(next, name);
  }
  const open = Object.values(state.asks).filter((ask) => !ask.command && !ask.error && now - ask.at < ASK_AGAIN_MS);
  return { ...next, send: [...next.send, ...open.map(command)] };
}

/** @param {State} state @param {string} id @returns {string | undefined} */
const nameOf = (state, id) => Object.keys(state.subs).find((name) => state.subs[name].id === id);

/** @param {State} state @param {string} id @param {(sub: Sub) => Sub} change @returns {State} */
function changed(state, id, change) {
  const name = nameOf(state, id);
  return name ? { ...state, subs: { ...state.subs, [name]: change(state.subs[name]) } } : state;
}

/** @param {Sub} sub @returns {Sub} */
const reachedLive = (sub) => ({ ...sub, phase: "live", wasLive: true });

/** @param {State} state @param {any} message @returns {State} */
function accepted(state, message) {
  const name = nameOf(state, message.id);
  if (name && state.subs[name].request.fleet) return acceptedFleet(state, name, message.head ?? {});
  return changed(state, message.id, (sub) => {
    const cursor = { ...sub.cursor };
    for (const [key, head] of Object.entries(message.head ?? {})) {
      // A cursor beyond the head belongs to a journal that is gone: the device was made anew, or a backup came back.
      if (cursor[key] !== undefined) cursor[key] = Math.min(cursor[key], head);
      else if (!sub.request.since) cursor[key] = head;
    }
    return { ...sub, phase: "history", cursor, recovered: message.recovered !== false };
  });
}

/**
 * A fleet answered with all its devices: those that it had before a cut and has no more are gone.
 * @param {State} state @param {string} name @param {Record<string, number>} head @returns {State}
 */
function acceptedFleet(state, name, head) {
  const gone = Object.keys(state.subs[name].cursor).filter((key) => head[key] === undefined);
  const sub = { ...reachedLive(state.subs[name]), cursor: head };
  return { ...without(state, gone), subs: { ...state.subs, [name]: sub } };
}

/** @param {State} state @param {string[]} keys @returns {State} */
function without(state, keys) {
  const fleet = { ...state.fleet };
  for (const key of keys) delete fleet[key];
  return { ...state, fleet, touched: keys };
}

/** @param {State} state @param {any} message @returns {State} */
function data(state, message) {
  const name = nameOf(state, message.id);
  if (!name) return state; // of a subscription that was ended or made anew
  const sub = state.subs[name];
  const cursor = { ...sub.cursor };
  const forgiven = { ...sub.forgiven };
  const counts = { ...state.counts };
  /** @type {Taken[]} */
  const taken = [];
  let holes = 0;
  for (const [device, { prev, frames }] of Object.entries(/** @type {Record<string, {prev: number, frames: Row[]}>} */ (message.devices))) {
    const at = cursor[device];
    if (at !== undefined && prev > at && !forgiven[device]) {
      holes += 1;
      continue;
    }
    const rows = at === undefined ? frames : frames.filter(([seq]) => seq > at);
    counts.known += frames.length - rows.length;
    if (!rows.length) continue;
    forgiven[device] = false;
    cursor[device] = rows[rows.length - 1][0];
    counts.frames += rows.length;
    taken.push({ device, sub: name, phase: message.phase, rows });
  }
  counts.holes += holes;
  const next = { ...state, counts, taken, subs: { ...state.subs, [name]: { ...sub, cursor, forgiven } } };
  if (!holes) return next;
  return asked({ ...next, send: [{ type: "unsub", id: sub.id }] }, name, true);
}

/** @param {State} state @param {any} message @param {number} now @returns {State} */
function lag(state, message, now) {
  const skipped = /** @type {Record<string, number>} */ (message.devices);
  const coalesced = state.counts.coalesced + Object.values(skipped).reduce((sum, one) => sum + one, 0);
  const next = { ...state, counts: { ...state.counts, coalesced }, link: { ...state.link, lagAt: now } };
  return changed(next, message.id, (sub) => {
    const forgiven = { ...sub.forgiven };
    for (const key of Object.keys(skipped)) forgiven[key] = true;
    return { ...sub, forgiven };
  });
}

/** @param {State} state @param {any} message @returns {State} */
function gap(state, { id, device, from, to, cause }) {
  const lost = state.counts.lost + Math.max(0, to - from + 1);
  return changed({ ...state, counts: { ...state.counts, lost } }, id, (sub) => ({
    ...sub,
    forgiven: { ...sub.forgiven, [device]: true },
    gaps: [...sub.gaps, { device, from, to, cause }].slice(-GAPS_KEPT),
  }));
}

/** @param {State} state @param {any} message @returns {State} */
function presence(state, { device, presence: word, because, since }) {
  return { ...state, devices: { ...state.devices, [device]: { presence: word, because, since } } };
}

/** @param {State} state @param {any} message @returns {State} */
function fleet(state, message) {
  const name = nameOf(state, message.id);
  if (!name) return state;
  const known = { ...state.fleet };
  const cursor = { ...state.subs[name].cursor };
  for (const [key, summary] of Object.entries(message.devices)) {
    delete cursor[key];
    if (summary === null) {
      delete known[key]; // it was deleted, or moved to where this user sees nothing
      continue;
    }
    known[key] = { ...known[key], ...summary };
    cursor[key] = summary.seq;
  }
  const subs = { ...state.subs, [name]: { ...state.subs[name], cursor } };
  return { ...state, subs, fleet: known, touched: Object.keys(message.devices) };
}

/** @param {State} state @param {any} message @returns {State} */
function confirmed(state, { id, command: cid }) {
  const ask = state.asks[id];
  return ask ? { ...state, asks: { ...state.asks, [id]: { ...ask, command: cid } } } : state;
}

/** @param {State} state @param {any} message @returns {State} */
function refused(state, { id, message, retry }) {
  const ask = state.asks[id];
  if (ask) return { ...state, asks: { ...state.asks, [id]: { ...ask, error: message } } };
  return changed(state, id, (sub) => ({ ...sub, phase: "ended", error: message, retry: Boolean(retry) }));
}

/** @param {State} state @param {any} message @returns {State} */
function evidence(state, message) {
  const { command: id, device, name, args, by, at, proof = "", progress = null } = message;
  const old = state.orders[id];
  const event = { state: message.state, at, proof, message: message.message ?? "", progress };
  const events = [...(old?.events ?? []).filter((one) => one.state !== event.state), event];
  return withOrder(state, { id, device, name, args, by: by || old?.by || "", state: "", events });
}

/**
 * Put an order in, its events in their order; merges with what is known of it.
 * @param {State} state @param {Order} given @returns {State}
 */
export function withOrder(state, given) {
  const known = state.orders[given.id]?.events ?? [];
  const said = new Set(given.events.map((event) => event.state));
  const events = [...known.filter((event) => !said.has(event.state)), ...given.events];
  events.sort((a, b) => a.at - b.at || RANK.indexOf(a.state) - RANK.indexOf(b.state));
  const newest = events[events.length - 1];
  return { ...state, orders: { ...state.orders, [given.id]: { ...given, state: newest ? newest.state : given.state, events } } };
}

const RANK = ["queued", "sent", "received", "unknown", "expired", "timed_out", "cancelled", "rejected", "failed", "succeeded"];

/** Nothing more is expected of an order in one of these states. */
export const CLOSED = new Set(["succeeded", "failed", "rejected", "cancelled", "expired", "unknown", "timed_out"]);
