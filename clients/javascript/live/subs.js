// PURE. Subscriptions: made, made again behind their cursors, paused, ended; the rows that they bring.
//
// The cursor rule: a row is taken when its seq is behind the cursor, once. `prev` beyond the cursor is a hole: the
// rows are left, and the subscription begins again from the cursor, unless the hub told of the hole (`lag`, `gap`).
//
// A subscription keeps its name for its user; on the wire it gets a new id each time it is made, so that messages of
// an older one still under way are told from those of the newer.

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Sub} Sub */
/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./types.js").Taken} Taken */
/** @typedef {{prev: number, frames: Row[], hops?: [number, number, number]}} Part  what a message brings of one device */

const GAPS_KEPT = 20;
const LATE_OR_WRONG = 1 | 2 | 4;

/** @param {State} state @returns {State} */
const fresh = (state) => ({ ...state, news: [], outcomes: [], send: [] });

/** Whether the hub has it. @param {State} state @param {Sub | undefined} sub */
const open = (state, sub) => state.link.phase === "up" && sub !== undefined && ["asked", "history", "replay", "live"].includes(sub.phase);

/**
 * Subscribe; at once when the socket is up, else with the next welcome. Replaces one of the same name.
 * @param {State} state @param {string} name @param {import("./types.js").Request} request @returns {State}
 */
export function want(state, name, request) {
  const old = state.subs[name];
  const since = request.since && "cursor" in request.since ? request.since.cursor : {};
  /** @type {Sub} */
  const sub = {
    request, id: "", made: old ? old.made : 0, phase: "wanted", wasLive: false, cursor: { ...since }, forgiven: {},
    heads: {}, recovered: true, gaps: [], at: 0, reason: "", error: "", retry: false,
  };
  const next = { ...fresh(state), subs: { ...state.subs, [name]: sub } };
  if (state.link.phase !== "up") return next;
  if (open(state, old)) next.send = [{ type: "unsub", id: old.id }];
  return asked(next, name);
}

/**
 * Stop a subscription, and keep where it stands.
 * @param {State} state @param {string} name @returns {State}
 */
export function pause(state, name) {
  const sub = state.subs[name];
  if (!sub || sub.phase === "ended") return fresh(state);
  const next = { ...fresh(state), subs: { ...state.subs, [name]: /** @type {Sub} */ ({ ...sub, id: "", phase: "paused" }) } };
  return open(state, sub) ? { ...next, send: [{ type: "unsub", id: sub.id }] } : next;
}

/**
 * Go on with a paused subscription where it stood.
 * @param {State} state @param {string} name @returns {State}
 */
export function resume(state, name) {
  const sub = state.subs[name];
  if (sub?.phase !== "paused") return fresh(state);
  const next = { ...fresh(state), subs: { ...state.subs, [name]: /** @type {Sub} */ ({ ...sub, phase: "wanted" }) } };
  return state.link.phase === "up" ? asked(next, name) : next;
}

/**
 * End a subscription and forget it.
 * @param {State} state @param {string} name @returns {State}
 */
export function leave(state, name) {
  const { [name]: sub, ...rest } = state.subs;
  const next = { ...fresh(state), subs: rest };
  return open(state, sub) ? { ...next, send: [{ type: "unsub", id: sub.id }] } : next;
}

/** After a welcome: whatever is wanted is asked. @param {State} state @returns {State} */
export function again(state) {
  const wanted = Object.keys(state.subs).filter((name) => !["ended", "paused"].includes(state.subs[name].phase));
  return wanted.reduce((next, name) => asked(next, name), state);
}

/** @param {State} state @param {string} name @param {boolean} [byCursor] @returns {State} */
function asked(state, name, byCursor = false) {
  const sub = state.subs[name];
  const made = sub.made + 1;
  const id = `${name}.${made}`;
  const message = { type: "sub", id, ...wish(sub, byCursor) };
  /** @type {Sub} */
  const next = { ...sub, id, made, phase: "asked", forgiven: {}, reason: "", error: "", retry: false };
  return { ...state, subs: { ...state.subs, [name]: next }, send: [...state.send, message] };
}

/** What to ask for, so that what comes follows what came. @param {Sub} sub @param {boolean} byCursor */
function wish({ request, wasLive, cursor, at }, byCursor) {
  const { since, replay, ...rest } = request;
  if (request.fleet) return rest;
  if (replay && !wasLive) return { ...rest, replay: { ...replay, from: at || replay.from } };
  const known = Object.keys(cursor).length > 0;
  const all = (request.devices ?? []).every((key) => cursor[key] !== undefined);
  // What was to begin now has begun once the hub took it, and does not begin later for a cut before the seam. A device
  // whose history has not come yet has no cursor: it would begin now, and lose it.
  const behind = known && ((all && (!since || byCursor)) || wasLive || (since && "cursor" in since));
  return { ...rest, since: (behind ? { cursor } : since) ?? null };
}

/** @param {State} state @param {string} id @returns {string | undefined} */
const nameOf = (state, id) => (id ? Object.keys(state.subs).find((name) => state.subs[name].id === id) : undefined);

/** @param {State} state @param {string} name @param {Partial<Sub>} change @returns {State} */
const changed = (state, name, change) => ({ ...state, subs: { ...state.subs, [name]: { ...state.subs[name], ...change } } });

/** @param {State} state @param {{id: string}} message @returns {State} */
export function reachedLive(state, { id }) {
  const name = nameOf(state, id);
  if (!name) return state;
  // A device that sent nothing stands where it stood when this was asked: what comes after a cut is not passed over.
  const { heads, cursor } = state.subs[name];
  return { ...changed(state, name, { phase: "live", wasLive: true, cursor: { ...heads, ...cursor } }), news: [{ kind: "live", sub: name }] };
}

/** @param {State} state @param {any} message @returns {State} */
export function accepted(state, { id, head = {}, recovered }) {
  const name = nameOf(state, id);
  if (!name) return state;
  const { request, wasLive, cursor: known } = state.subs[name];
  if (request.fleet) return acceptedFleet(state, name, head);
  const replaying = Boolean(request.replay) && !wasLive;
  const cursor = { ...known };
  for (const [key, newest] of Object.entries(head)) {
    // A cursor beyond the head belongs to a journal that is gone: the device was made anew, or a backup came back.
    if (cursor[key] !== undefined) cursor[key] = Math.min(cursor[key], newest);
    else if (!request.since && !replaying) cursor[key] = newest;
  }
  return changed(state, name, { phase: replaying ? "replay" : "history", cursor, heads: head, recovered: recovered !== false });
}

/**
 * A fleet answered with all its devices: those that it had before a cut and has no more are gone.
 * @param {State} state @param {string} name @param {Record<string, number>} head @returns {State}
 */
function acceptedFleet(state, name, head) {
  const gone = Object.keys(state.subs[name].cursor).filter((key) => head[key] === undefined);
  return changed(without(state, name, gone), name, { phase: "live", wasLive: true, cursor: head });
}

/** @param {State} state @param {string} sub @param {string[]} devices @returns {State} */
function without(state, sub, devices) {
  const fleet = { ...state.fleet };
  for (const key of devices) delete fleet[key];
  return devices.length ? { ...state, fleet, news: [...state.news, { kind: "fleet", sub, devices }] } : state;
}

/** @param {State} state @param {any} message @param {number} now @returns {State} */
export function data(state, message, now) {
  const name = nameOf(state, message.id);
  if (!name) return state; // of a subscription that was ended or made anew
  const sub = state.subs[name];
  const parts = Object.entries(/** @type {Record<string, Part>} */ (message.devices));
  const holes = parts.filter(([device, part]) => isHole(sub, device, part)).length;
  const { cursor, forgiven, counts, news } = taken(state, name, message, now);
  const at = holes ? sub.at : message.at ?? sub.at;
  const link = seen(state.link, message, parts, now);
  const next = changed({ ...state, link, counts: { ...counts, holes: counts.holes + holes }, news }, name, { cursor, forgiven, at });
  return holes ? asked({ ...next, send: [{ type: "unsub", id: sub.id }] }, name, true) : next;
}

/** @param {Sub} sub @param {string} device @param {Part} part */
const isHole = ({ cursor, forgiven }, device, { prev }) => cursor[device] !== undefined && prev > cursor[device] && !forgiven[device];

/** The rows of a message that follow what is known. @param {State} state @param {string} name @param {any} message @param {number} now */
function taken(state, name, message, now) {
  const sub = state.subs[name];
  const cursor = { ...sub.cursor };
  const forgiven = { ...sub.forgiven };
  const counts = { ...state.counts };
  /** @type {Taken[]} */
  const news = [];
  for (const [device, part] of Object.entries(/** @type {Record<string, Part>} */ (message.devices))) {
    if (isHole(sub, device, part)) continue;
    const at = cursor[device];
    const rows = at === undefined ? part.frames : part.frames.filter(([seq]) => seq > at);
    counts.known += part.frames.length - rows.length;
    if (!rows.length) continue;
    forgiven[device] = false;
    cursor[device] = rows[rows.length - 1][0];
    counts.frames += rows.length;
    news.push({ kind: "rows", sub: name, device, phase: message.phase, rows, way: way(part, message.sent, now + state.skew) });
  }
  return { cursor, forgiven, counts, news };
}

/**
 * The way of a part's newest frame, as far as it is known now.
 * @param {Part} part @param {number | undefined} sent @param {number} took @returns {import("./types.js").Sample | null}
 */
function way({ hops, frames }, sent, took) {
  if (!hops || !sent) return null;
  const [, ts, , flags = 0] = frames[frames.length - 1];
  const [received, committed, announced] = hops;
  // A reading without a time of its own got that of its arrival, which says nothing of its way.
  return { ts: flags & LATE_OR_WRONG || ts === received ? null : ts, received, committed, announced, sent, took, drawn: 0 };
}

/** Live rows without hops had to be read back: the client is behind. @param {import("./types.js").Link} link @param {any} message @param {[string, Part][]} parts @param {number} now */
function seen(link, { phase }, parts, now) {
  if (phase !== "live") return link;
  const told = parts.every(([, part]) => part.hops);
  return { ...link, hops: link.hops || told, backAt: link.hops && !told ? now : link.backAt };
}

/** @param {State} state @param {any} message @param {number} now @returns {State} */
export function lag(state, { id, devices }, now) {
  const skipped = Object.values(/** @type {Record<string, number>} */ (devices)).reduce((sum, one) => sum + one, 0);
  const next = {
    ...state,
    counts: { ...state.counts, coalesced: state.counts.coalesced + skipped },
    socket: { ...state.socket, skipped: state.socket.skipped + skipped },
    link: { ...state.link, lagAt: now },
  };
  const name = nameOf(state, id);
  if (!name) return next;
  const forgiven = { ...state.subs[name].forgiven };
  for (const key of Object.keys(devices)) forgiven[key] = true;
  return { ...changed(next, name, { forgiven }), news: [{ kind: "lag", sub: name, devices }] };
}

/** @param {State} state @param {any} message @returns {State} */
export function gap(state, { id, device, from, to, cause }) {
  const gone = Math.max(0, to - from + 1);
  const next = {
    ...state,
    counts: { ...state.counts, lost: state.counts.lost + gone },
    socket: { ...state.socket, gone: state.socket.gone + gone },
  };
  const name = nameOf(state, id);
  if (!name) return next;
  const sub = state.subs[name];
  const told = { device, from, to, cause };
  const change = { forgiven: { ...sub.forgiven, [device]: true }, gaps: [...sub.gaps, told].slice(-GAPS_KEPT) };
  return { ...changed(next, name, change), news: [{ kind: "gap", sub: name, ...told }] };
}

/** @param {State} state @param {any} message @returns {State} */
export function fleet(state, message) {
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
  return { ...changed(state, name, { cursor }), fleet: known, news: [{ kind: "fleet", sub: name, devices: Object.keys(message.devices) }] };
}

/** The hub refused it. @param {State} state @param {any} message @returns {State} */
export function refused(state, { id, code, message, retry }) {
  const name = nameOf(state, id);
  if (!name) return state;
  return { ...changed(state, name, { phase: "ended", reason: code, error: message, retry: Boolean(retry) }), news: [{ kind: "ended", sub: name }] };
}

/** The hub ended it. What it showed of a fleet is nobody's business any more. @param {State} state @param {any} message @returns {State} */
export function ended(state, { id, reason }) {
  const name = nameOf(state, id);
  if (!name) return state;
  const { request, cursor } = state.subs[name];
  const next = request.fleet ? without(state, name, Object.keys(cursor)) : state;
  return { ...changed(next, name, { id: "", phase: "ended", reason }), news: [...next.news, { kind: "ended", sub: name }] };
}
