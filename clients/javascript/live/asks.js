// PURE. What a client asked of the hub: orders for devices, calls as over REST, the path. And what became of them.
//
// An order has a key, so it is asked again after a cut. A call has none: one that a cut left open may have been done,
// so it is told to be unknown, and never made again.

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Ask} Ask */
/** @typedef {import("./types.js").Call} Call */
/** @typedef {import("./types.js").Order} Order */
/** @typedef {import("./types.js").Evidence} Evidence */
/** @typedef {import("./types.js").Outcome} Outcome */

// How long an order that the hub has not confirmed is asked again, under the same key, after a cut.
const ASK_AGAIN_MS = 30_000;
const ANSWER_MS = 30_000;
const RANK = ["queued", "sent", "received", "unknown", "expired", "timed_out", "cancelled", "rejected", "failed", "succeeded"];
const UNKNOWN = "nobody knows whether it was done; look before you do it again";

/** Nothing more is expected of an order in one of these states. */
export const CLOSED = new Set(["succeeded", "failed", "rejected", "cancelled", "expired", "unknown", "timed_out"]);

/** @param {State} state @returns {State} */
const fresh = (state) => ({ ...state, news: [], outcomes: [], send: [] });

/**
 * Give a command. `key` makes asking again after a cut harmless.
 * @param {State} state @param {{id: string, device: string, name: string, args: unknown, key: string} & import("./types.js").How} order
 * @param {number} now @returns {State}
 */
export function order(state, order, now) {
  const ask = { ...order, at: now, command: "", error: "" };
  const next = { ...fresh(state), asks: { ...state.asks, [order.id]: ask } };
  return state.link.phase === "up" ? { ...next, send: [command(ask)] } : next;
}

/** @param {Ask} ask @returns {object} */
function command({ id, device, name, args, key, ttl_s, reason, confirm }) {
  const asked = { ...(ttl_s ? { ttl_s } : {}), ...(reason ? { reason } : {}), ...(confirm ? { confirm } : {}) };
  return { type: "cmd", id, device, name, args, key, ...asked };
}

/**
 * Change something as over REST; at once when the socket is up, else with the next welcome.
 * @param {State} state @param {{id: string, method: string, path: string, body?: unknown}} wanted @param {number} now
 * @returns {State}
 */
export function call(state, wanted, now) {
  const sent = state.link.phase === "up";
  const next = { ...fresh(state), calls: { ...state.calls, [wanted.id]: { ...wanted, at: now, sent } } };
  return sent ? { ...next, send: [{ type: "call", ...wanted }] } : next;
}

/**
 * Ask how the whole path is; only a socket that is up can know.
 * @param {State} state @param {string} id @returns {State}
 */
export function askPath(state, id) {
  if (state.link.phase !== "up") return { ...fresh(state), outcomes: [{ id, code: "cut", error: "not connected to the hub" }] };
  return { ...fresh(state), pathAsks: [...state.pathAsks, id], send: [{ type: "path" }] };
}

/** After a welcome: what is still to be asked. @param {State} state @param {number} now @returns {State} */
export function again(state, now) {
  const orders = Object.values(state.asks).filter((ask) => !ask.command && !ask.error && now - ask.at < ASK_AGAIN_MS);
  const calls = Object.values(state.calls).filter((one) => !one.sent);
  const sent = Object.fromEntries(calls.map((one) => [one.id, { ...one, sent: true }]));
  const messages = calls.map(({ id, method, path, body }) => ({ type: "call", id, method, path, body }));
  return { ...state, calls: { ...state.calls, ...sent }, send: [...state.send, ...orders.map(command), ...messages] };
}

/** The socket is gone, for good or not: what was asked on it has no answer. @param {State} state @param {boolean} forGood @returns {State} */
export function cut(state, forGood) {
  const over = Object.values(state.calls).filter((one) => one.sent || forGood);
  const why = (/** @type {Call} */ one) => (one.sent ? `the connection was cut before the answer came: ${UNKNOWN}` : "not connected to the hub, and not coming back: it was not sent");
  return settled(state, over.map((one) => [one.id, why(one)]), [...state.pathAsks]);
}

/** What waited for too long. @param {State} state @param {number} now @returns {State} */
export function overdue(state, now) {
  const late = Object.values(state.asks).filter((ask) => !ask.command && !ask.error && now - ask.at > ASK_AGAIN_MS);
  const next = late.reduce((before, ask) => unconfirmed(before, ask), late.length ? fresh(state) : state);
  const over = Object.values(state.calls).filter((one) => now - one.at > ANSWER_MS);
  const why = (/** @type {Call} */ one) => (one.sent ? `no answer for ${ANSWER_MS / 1000} s: ${UNKNOWN}` : `not connected to the hub for ${ANSWER_MS / 1000} s: it was not sent`);
  return over.length ? settled(late.length ? next : fresh(next), over.map((one) => [one.id, why(one)]), []) : next;
}

/** @param {State} state @param {Ask} ask @returns {State} */
function unconfirmed(state, ask) {
  const error = `the hub did not confirm it within ${ASK_AGAIN_MS / 1000} s: what is known of the device's commands shows whether it was taken`;
  return { ...state, asks: { ...state.asks, [ask.id]: { ...ask, error } }, outcomes: [...state.outcomes, { id: ask.id, code: "cut", error }] };
}

/** @param {State} state @param {[string, string][]} calls @param {string[]} paths @returns {State} */
function settled(state, calls, paths) {
  const left = { ...state.calls };
  for (const [id] of calls) delete left[id];
  /** @type {Outcome[]} */
  const outcomes = [...calls.map(([id, error]) => ({ id, code: "cut", error })), ...paths.map((id) => ({ id, code: "cut", error: "the connection was cut" }))];
  return { ...state, calls: left, pathAsks: state.pathAsks.filter((id) => !paths.includes(id)), outcomes: [...state.outcomes, ...outcomes] };
}

/** @param {State} state @param {any} message @returns {State} */
export function confirmed(state, { id, command: cid, state: word, new: made }) {
  const ask = state.asks[id];
  if (!ask) return state;
  const value = { command: cid, state: word, new: made };
  return { ...state, asks: { ...state.asks, [id]: { ...ask, command: cid } }, outcomes: [{ id, value }] };
}

/** @param {State} state @param {any} message @returns {State} */
export function answered(state, { id, status, body }) {
  if (!state.calls[id]) return state;
  return { ...settled(state, [[id, ""]], []), outcomes: [{ id, value: { status, body } }] };
}

/** @param {State} state @param {any} message @param {number} now @returns {State} */
export function path(state, message, now) {
  const outcomes = state.pathAsks.slice(0, 1).map((id) => ({ id, value: message }));
  return { ...state, path: { message, took: state.socket, at: now }, pathAsks: state.pathAsks.slice(1), outcomes };
}

/** The hub refused an order or a call; null: it was neither. @param {State} state @param {any} message @returns {State | null} */
export function refused(state, { id, code, message }) {
  const ask = state.asks[id];
  if (ask) return { ...state, asks: { ...state.asks, [id]: { ...ask, error: message } }, outcomes: [{ id, code, error: message }] };
  if (state.calls[id]) return { ...settled(state, [[id, ""]], []), outcomes: [{ id, code, error: message }] };
  return null;
}

/** @param {State} state @param {any} message @returns {State} */
export function evidence(state, message) {
  const { command: id, device, name, args, by, at, proof = "", progress = null, step = "" } = message;
  const old = state.orders[id];
  const event = { state: message.state, at, proof, message: message.message ?? "", progress, step, by };
  const events = [...(old?.events ?? []).filter((one) => !same(one, event)), event];
  const { reason = old?.reason ?? "", expires_at = old?.expires_at, sends = old?.sends } = message;
  const next = withOrder(state, { id, device, name, args, by: old?.by || by || "", state: "", events, reason, expires_at, sends });
  return { ...next, news: [{ kind: "order", device, order: id }] };
}

/** Whether two tell of the same: a state, and of an update each of its steps, is entered once. @param {Evidence} a @param {Evidence} b */
const same = (a, b) => a.state === b.state && (a.step ?? "") === (b.step ?? "");

/**
 * Put an order in, its events in their order; merges with what is known of it.
 * @param {State} state @param {Order} given @returns {State}
 */
export function withOrder(state, given) {
  const known = state.orders[given.id]?.events ?? [];
  const events = [...known.filter((event) => !given.events.some((one) => same(one, event))), ...given.events];
  events.sort((a, b) => a.at - b.at || RANK.indexOf(a.state) - RANK.indexOf(b.state));
  const newest = events[events.length - 1];
  return { ...state, orders: { ...state.orders, [given.id]: { ...given, state: newest ? newest.state : given.state, events } } };
}
