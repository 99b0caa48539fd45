// PURE. What the corner's panel says of the path from device to screen: each hop, how long it took, what was counted,
// and whether anything was lost on it.

/** @typedef {import("../live/types.js").State} State */
/** @typedef {"" | "well" | "wait" | "healed" | "lost"} Kind  healed: it went wrong, and was made good, or is kept */
/** @typedef {{text: string, kind: Kind, verdict?: string}} Count  verdict: what is said of it where it matters */
/** @typedef {{name: string, took: string, counts: Count[]}} Hop */
/** @typedef {{verdict: {text: string, kind: Kind}[], hops: Hop[], whole: string, source: string}} Shown */

const PAGES = "Medians of the newest readings that this page drew.";
const HUBS = "Medians of the last minute, over all watched devices: this page draws no frames.";

/** @typedef {Record<string, number | null>} Latencies */

/**
 * @param {State} state
 * @param {Latencies} own  what the page measured itself
 * @returns {Shown}
 */
export function shownOf(state, own) {
  const drew = state.samples.length > 0;
  const took = drew ? own : hubs(state);
  const counted = countsOf(state);
  const hop = (/** @type {string} */ name, /** @type {string} */ key) => ({ name, took: key ? ms(took[key]) : "", counts: counted[name] ?? [] });
  const verdict = Object.values(counted).flat().filter(({ kind }) => kind).map(({ text, kind, verdict: said }) => ({ text: said ?? text, kind }));
  return {
    verdict: verdict.length ? verdict : [{ text: state.path ? "nothing lost" : "asking the hub …", kind: state.path ? "well" : "wait" }],
    hops: [
      hop("device", ""), hop("received", "received"), hop("committed", "committed"), hop("announced", "announced"),
      hop("sent", "sent"), hop("taken", "took"), hop("drawn", "drawn"),
    ],
    whole: drew ? ms(own.whole) : "",
    source: drew ? PAGES : HUBS,
  };
}

/** Where the page has nothing of its own to measure: what the hub says, and half a round trip. @param {State} state @returns {Latencies} */
function hubs({ path, link }) {
  const given = path?.message.latency_ms ?? {};
  const middle = (/** @type {string} */ name) => given[name]?.p50 ?? null;
  const [received, committed, announced, sent] = ["received", "committed", "announced", "sent"].map(middle);
  return { received, committed, announced, sent, took: link.rtt ? link.rtt / 2 : null, drawn: null };
}

/** @param {number | null} took */
function ms(took) {
  if (took === null) return "—";
  if (took >= 10_000) return `${Math.round(took / 1000)} s`;
  if (took >= 1000) return `${(took / 1000).toFixed(1)} s`;
  return `${took < 10 ? Math.round(took * 10) / 10 : Math.round(took)} ms`;
}

/** @param {State} state @returns {Record<string, Count[]>} */
function countsOf(state) {
  const { path, counts } = state;
  if (!path) return { drawn: drawn(counts) };
  const { bridges = {}, web = {}, socket = {} } = path.message;
  const bridge = summed(Object.values(bridges).map((one) => /** @type {any} */ (one).counts ?? {}));
  const missing = { frames: Math.max(0, (socket.frames ?? 0) - path.took.frames), messages: Math.max(0, (socket.messages ?? 0) - path.took.messages) };
  return {
    received: [
      count(bridge.heard, "heard"), count(bridge.duplicates, "duplicates"),
      fault(bridge.refused, "refused", "healed", "over the limit"), rare(unaccounted(bridge), "not accounted for", "lost"),
    ],
    committed: [count(bridge.frames, "stored"), fault(bridge.rejects, "rejected", "healed", "kept in Rejects")],
    announced: [
      count(bridge.announced, "announced"), count(bridge.unwatched, "that nobody watched"),
      fault(bridge.lost, "lost", "healed", "announcements that the layer did not take, read back"),
      fault(web.frames_missed, "missed", "healed", "by the web server, read back"),
    ],
    sent: [
      count(socket.frames, "to this page"), rare(socket.merged, "merged", ""), count(socket.read_back, "read back"),
      fault(socket.skipped, "skipped", "lost", "this page was too slow"), fault(socket.gone, "gone", "lost", "could not be had any more"),
    ],
    taken: [count(path.took.frames, "taken"), fault(missing.frames, "lost", "lost", "sent, and never came"), rare(missing.messages, "messages that never came", "lost")],
    drawn: drawn(counts),
  };
}

/** Since the page was opened, over all its connections. @param {State["counts"]} counts @returns {Count[]} */
function drawn({ frames, holes, coalesced, lost }) {
  return [
    count(frames, "drawn"), fault(coalesced, "coalesced", "lost", "since the page was opened"),
    fault(lost, "lost", "lost", "gone since the page was opened"), fault(holes, "holes", "healed", "found here, and read back"),
  ];
}

/** What a bridge heard is one of these. @param {Record<string, number>} counts */
function unaccounted({ heard = 0, batched = 0, frames = 0, duplicates = 0, rejects = 0, refused = 0, others = 0, waiting = 0 }) {
  return Math.max(0, heard + batched - frames - duplicates - rejects - refused - others - waiting);
}

/** @param {Record<string, number>[]} all @returns {Record<string, number>} */
function summed(all) {
  /** @type {Record<string, number>} */
  const sum = {};
  for (const one of all) for (const [name, n] of Object.entries(one)) sum[name] = (sum[name] ?? 0) + n;
  return sum;
}

/** @param {number | undefined} n @param {string} what @returns {Count} */
const count = (n, what) => ({ text: n === undefined ? "" : `${grouped(n)} ${what}`, kind: "" });

/** Must be none. @param {number | undefined} n @param {string} what @param {Kind} kind @param {string} more @returns {Count} */
const fault = (n, what, kind, more) => ({ ...count(n, what), kind: n ? kind : "", verdict: `${grouped(n ?? 0)} ${what}: ${more}` });

/** Said only when there is any. @param {number | undefined} n @param {string} what @param {Kind} kind @returns {Count} */
const rare = (n, what, kind) => (n ? { ...count(n, what), kind } : { text: "", kind: "" });

/** @param {number} n */
const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, " ");
