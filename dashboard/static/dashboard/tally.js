// PURE. Where the devices of a job stand: in words with numbers, as parts of a bar, and how fast they get there.

/** @typedef {Record<string, number>} Counts */
/** @typedef {{kind: string, count: number, word: string, states: string[]}} Part */

/** The parts of a bar, in its order; a colour is never alone: each has its word, and those that matter a pattern. */
export const KINDS = [
  { kind: "done", word: "succeeded", states: ["succeeded"] },
  { kind: "failed", word: "failed", states: ["failed", "rejected"] },
  { kind: "unsure", word: "without an answer", states: ["unknown", "timed_out"] },
  { kind: "over", word: "expired", states: ["expired"] },
  { kind: "none", word: "not done", states: ["cancelled", "refused"] },
  { kind: "open", word: "under way", states: ["queued", "sent", "received"] },
  { kind: "waiting", word: "to come", states: ["waiting"] },
];
const SETTLED = new Set(["done", "failed", "unsure", "over", "none"]);
const BAD = new Set(["failed", "unsure", "over"]);

/** @param {number} value */
export const figure = (value) => value.toLocaleString("en");

/** @param {number} count @param {string} word */
export const plural = (count, word) => `${figure(count)} ${word}${count === 1 ? "" : "s"}`;

/** The parts that have any, in the order of the bar. @param {Counts} counts @returns {Part[]} */
export function partsOf(counts) {
  const parts = KINDS.map((one) => ({ ...one, count: one.states.reduce((sum, state) => sum + (counts[state] ?? 0), 0) }));
  return parts.filter(({ count }) => count > 0);
}

/** @param {Counts} counts @param {Set<string>} kinds */
const sum = (counts, kinds) => partsOf(counts).reduce((all, { kind, count }) => all + (kinds.has(kind) ? count : 0), 0);

/** Of how many nothing more is expected. @param {Counts} counts */
export const settledOf = (counts) => sum(counts, SETTLED);

/** How many came to no good end: what a job's limit is about. @param {Counts} counts */
export const badOf = (counts) => sum(counts, BAD);

/** "312 of 10,000 settled · 9 did not succeed". @param {Counts} counts @param {number} total */
export function words(counts, total) {
  const bad = badOf(counts);
  return `${figure(settledOf(counts))} of ${figure(total)} settled${bad ? ` · ${figure(bad)} did not succeed` : ""}`;
}

/** What a job's state is called. @param {{state: string, counts: Counts, issued: number, total: number}} job */
export function stateOf({ state, counts, issued, total }) {
  if (state === "running" && issued >= total && settledOf(counts) < total) return "waiting for answers";
  return state;
}

/** "stage 2 of 3, up to 50 %"; "" where all go at once. @param {{stages: number[], issued: number, total: number, state: string}} job */
export function stageOf({ stages, issued, total, state }) {
  if (stages.length < 2 || state === "done" || state === "cancelled") return "";
  const at = stages.findIndex((share) => issued <= Math.ceil((total * share) / 100));
  const stage = at < 0 ? stages.length - 1 : at;
  return `stage ${stage + 1} of ${stages.length}, up to ${stages[stage]} %`;
}

const WINDOW_MS = 15_000;

/**
 * How many settled a second, lately; null: not known yet.
 * @param {[number, number][]} seen  [at in ms, settled by then], rising
 * @returns {number | null}
 */
export function rateOf(seen) {
  if (seen.length < 2) return null;
  const [lastAt, last] = seen[seen.length - 1];
  const [firstAt, first] = seen.find(([at]) => lastAt - at <= WINDOW_MS) ?? seen[0];
  return lastAt > firstAt ? ((last - first) * 1000) / (lastAt - firstAt) : null;
}

/** "12 a second", "3 a minute". @param {number | null} rate */
export function paceOf(rate) {
  if (rate === null || rate <= 0) return "";
  return rate >= 1 ? `${figure(Math.round(rate))} a second` : `${figure(Math.max(1, Math.round(rate * 60)))} a minute`;
}

/** For whom a job is. @param {{tag?: string, presence?: string, devices?: string[]}} selection */
export function whom({ tag, presence, devices }) {
  const of = devices ? (devices.length === 1 ? devices[0] : `${figure(devices.length)} chosen devices`) : "all devices";
  const more = [tag && `tagged ${tag}`, presence && `that ${presence === "never" ? "were never seen" : `were ${presence}`}`].filter(Boolean);
  return [of, ...more].join(" ");
}

/** How it goes, besides: "at most 5 a second; 5 %, 50 %, 100 %; stops at 10 % failed".
 * @param {{rate?: number | null, stages?: number[], limit?: number | null}} how */
export function manner({ rate, stages = [], limit }) {
  const parts = [rate ? `at most ${figure(rate)} a second` : "", stages.length > 1 ? `in stages: ${stages.map((share) => `${share} %`).join(", ")}` : ""];
  if (limit !== null && limit !== undefined) parts.push(`stops when more than ${limit} % failed`);
  return parts.filter(Boolean).join("; ") || "all at once";
}
