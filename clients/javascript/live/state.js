// PURE. What a client knows of the hub, and what each message makes of it. No DOM, no clock, no socket: `now` is given.
// Subscriptions are in subs.js, what was asked (orders, calls, the path) in asks.js, the words in types.js.

import * as asks from "./asks.js";
import * as subs from "./subs.js";

export { CLOSED, askPath, call, order, overdue, withOrder } from "./asks.js";
export { leave, pause, resume, want } from "./subs.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Link} Link */
/** @typedef {import("./types.js").Sample} Sample */

// A message that was under way for longer than this is late: the link is slower than what is sent over it.
const BEHIND_MS = 500;
// How long nothing came, when all that was late is here.
const SETTLED_MS = 2000;
const SAMPLES_KEPT = 50;

/** @returns {State} */
export function initial() {
  return {
    link: {
      phase: "connecting", code: 0, lostAt: 0, retryAt: 0, pingAt: 0, rtt: 0, heardAt: 0, lagAt: 0, wokeAt: 0, backAt: 0,
      behind: 0, transit: 0, dataAt: 0, checkAt: 0, hops: false, reason: "",
    },
    hub: { storing: true, because: "", since: 0 },
    skew: 0,
    heartbeat: 20,
    subs: {},
    fleet: {},
    devices: {},
    about: {},
    settings: {},
    orders: {},
    asks: {},
    calls: {},
    pathAsks: [],
    counts: { frames: 0, known: 0, holes: 0, coalesced: 0, lost: 0 },
    socket: nothing(),
    samples: [],
    path: null,
    news: [],
    outcomes: [],
    send: [],
  };
}

const nothing = () => ({ messages: 0, frames: 0, skipped: 0, gone: 0 });

/** @param {State} state @returns {State} */
const fresh = (state) => ({ ...state, news: [], outcomes: [], send: [] });

/**
 * A ping was sent.
 * @param {State} state @param {number} now @returns {State}
 */
export const pinged = (state, now) => ({ ...fresh(state), link: { ...state.link, pingAt: now } });

/**
 * The client was asleep, or out of sight: until the hub says something, nobody knows whether what is known is true.
 * @param {State} state @param {number} now @returns {State}
 */
export const woke = (state, now) => ({ ...fresh(state), link: { ...state.link, wokeAt: now } });

/**
 * The socket is gone; it will be tried again at `retryAt`, or never (0).
 * @param {State} state @param {{code: number, reason?: string, retryAt: number}} how @param {number} now @returns {State}
 */
export function closed(state, { code, reason = "", retryAt }, now) {
  const lostAt = state.link.lostAt || now;
  const phase = retryAt ? "waiting" : "refused";
  const link = { ...state.link, phase, code, reason, lostAt, retryAt, pingAt: 0, rtt: 0, behind: 0, transit: 0 };
  return asks.cut({ ...fresh(state), link: /** @type {Link} */ (link) }, retryAt === 0);
}

/**
 * A new socket is being opened.
 * @param {State} state @returns {State}
 */
export const opening = (state) => ({ ...fresh(state), link: { ...state.link, phase: "connecting", retryAt: 0, pingAt: 0 } });

/**
 * Rows were shown: their way is known to its end.
 * @param {State} state @param {Sample[]} ways @param {number} now @returns {State}
 */
export function drawn(state, ways, now) {
  const samples = ways.map((way) => ({ ...way, drawn: now + state.skew }));
  return { ...fresh(state), samples: [...state.samples, ...samples].slice(-SAMPLES_KEPT) };
}

/**
 * Take one message of the hub.
 * @param {State} before @param {any} message @param {number} now @returns {State}
 */
export function reduce(before, message, now) {
  const state = { ...fresh(before), link: { ...before.link, heardAt: now } };
  switch (message.type) {
    case "welcome": return welcome(state, message, now);
    case "pong": return pong(state, now);
    case "ok": return message.command ? asks.confirmed(state, message) : subs.accepted(state, message);
    case "data": return subs.data(counted(timed(state, message, now), message), message, now);
    case "live": return subs.reachedLive(state, message);
    case "lag": return subs.lag(state, message, now);
    case "gap": return subs.gap(state, message);
    case "state": return presence(state, message);
    case "device": return registration(state, message);
    case "settings": return { ...withSettings(state, message), news: [{ kind: "settings", device: message.device }] };
    case "fleet": return subs.fleet(counted(state, message), message);
    case "cmd_state": return asks.evidence(state, message);
    case "answer": return asks.answered(state, message);
    case "path": return asks.path(checked({ ...state, skew: Math.max(state.skew, message.at - now) }, message.at, now), message, now);
    case "hub": return { ...state, hub: { storing: message.storing, because: message.because, since: message.since } };
    case "err": return asks.refused(state, message) ?? subs.refused(state, message);
    case "end": return subs.ended(state, message);
    default: return state; // a newer hub may say more
  }
}

/** @param {State} state @param {any} message @param {number} now @returns {State} */
function welcome(state, message, now) {
  /** @type {Link} */
  const link = { ...state.link, phase: "up", code: 0, lostAt: 0, retryAt: 0, reason: "", behind: 0, transit: 0, checkAt: 0, hops: false };
  const next = { ...state, link, hub: initial().hub, socket: nothing(), skew: message.server_ts - now, heartbeat: message.heartbeat_s };
  return asks.again(subs.again(next), now);
}

/** @param {State} state @param {number} now @returns {State} */
function pong(state, now) {
  if (!state.link.pingAt) return state;
  const rtt = Math.max(1, now - state.link.pingAt);
  const link = { ...state.link, rtt, pingAt: 0 };
  if (rtt > BEHIND_MS || link.behind <= BEHIND_MS) return { ...state, link };
  // Words come in their turn: nothing is under way any more, and nothing more came. What was late is here.
  if (now - link.dataAt > SETTLED_MS) return { ...state, link: { ...link, transit: 0, behind: 0 } };
  // A slow link that is empty for a moment, or a clock of ours that was set: the hub's clock knows.
  if (link.checkAt) return { ...state, link };
  return { ...state, link: { ...link, checkAt: now }, pathAsks: [...state.pathAsks, ""], send: [{ type: "path" }] };
}

/**
 * An answer that came quickly cannot have been under way for long: if it seems so, this clock was set meanwhile.
 * @param {State} state @param {number} at @param {number} now @returns {State}
 */
function checked(state, at, now) {
  const { checkAt } = state.link;
  const link = { ...state.link, checkAt: 0 };
  if (!checkAt || now - checkAt > BEHIND_MS || now + state.skew - at <= BEHIND_MS) return { ...state, link };
  return { ...state, skew: at - now, link: { ...link, transit: 0, behind: 0 } };
}

/**
 * The hub's stamps say how late a message is, and its frames, and what its clock shows: as much as the least late
 * message says, at least.
 * @param {State} state @param {any} message @param {number} now @returns {State}
 */
function timed(state, { sent, devices = {} }, now) {
  if (!sent) return state;
  const skew = Math.max(state.skew, sent - now);
  const received = Object.values(devices).map((part) => part.hops?.[0] ?? sent);
  return { ...state, skew, link: { ...state.link, dataAt: now, transit: now + skew - sent, behind: now + skew - Math.min(sent, ...received) } };
}

/** Count what came on this socket, taken or not. @param {State} state @param {any} message @returns {State} */
function counted(state, { type, devices }) {
  const { messages, frames } = state.socket;
  const came = type === "data" ? Object.values(devices).reduce((sum, part) => sum + part.frames.length, 0) : 0;
  return { ...state, socket: { ...state.socket, messages: messages + 1, frames: frames + came } };
}

/** @param {State} state @param {any} message @returns {State} */
function presence(state, { device, presence: word, because, since }) {
  return { ...state, devices: { ...state.devices, [device]: { presence: word, because, since } }, news: [{ kind: "state", device }] };
}

/** @param {State} state @param {any} message @returns {State} */
function registration(state, { device, name, fleet, enabled }) {
  const shown = state.fleet[device];
  return {
    ...state,
    about: { ...state.about, [device]: { name, fleet, enabled } },
    fleet: shown ? { ...state.fleet, [device]: { ...shown, name } } : state.fleet,
    news: [{ kind: "device", device }],
  };
}

/**
 * Put settings in; a row replaces the one of its name.
 * @param {State} state @param {{device: string, version: number, settings: import("./types.js").Setting[]}} told @returns {State}
 */
export function withSettings(state, { device, version, settings }) {
  const rows = Object.assign(Object.create(null), state.settings[device]?.rows);
  for (const row of settings) rows[row.name] = row;
  return { ...state, settings: { ...state.settings, [device]: { version, rows } } };
}
