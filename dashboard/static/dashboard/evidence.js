// PURE. What is proved of a command: in a line, and as its whole log.

import { clock, reading } from "./format.js";

const WORDS = /** @type {Record<string, string>} */ ({ timed_out: "timed out" });
// After these an answer is late: nobody waited for it any more.
const OVER = new Set(["unknown", "expired", "timed_out"]);
// Who did it is worth a word of these alone: of all others it is the hub, or the device.
const BY_PEOPLE = new Set(["queued", "cancelled"]);

/** The course of an update, as devices tell it. */
export const STEPS = ["downloading", "downloaded", "verified", "installing", "restarting"];

/** @typedef {import("../live/types.js").Order} Order */
/** @typedef {import("../live/types.js").Evidence} Evidence */
/** @typedef {{word: string, state: string, at: number, when: string, proof: string, message: string, by: string, late: boolean}} Entry */

/** @param {string} state */
export const wordOf = (state) => WORDS[state] ?? state;

/**
 * "queued 12:03:01.120 → sent +11 ms → received +60 ms → succeeded +62 ms · the device answered".
 * @param {Order} order
 * @returns {string}
 */
export function line({ events }) {
  if (!events.length) return "";
  const [first, ...rest] = events;
  const steps = [`${wordOf(first.state)} ${clock(first.at, { ms: true })}`];
  rest.forEach((event, index) => steps.push(`${late(events, index + 1) ? "late: " : ""}${named(event)} +${gap(event.at - first.at)}${percent(event)}`));
  const last = events[events.length - 1];
  const said = last.message ? `: ${last.message}` : "";
  return `${steps.join(" → ")}${last.proof ? ` · ${last.proof}` : ""}${said}`;
}

/** @param {Evidence} event */
const named = ({ state, step }) => (step ? step : wordOf(state));

/** Whether this one came after the hub had given it up. @param {Evidence[]} events @param {number} index */
const late = (events, index) => !OVER.has(events[index].state) && events.slice(0, index).some(({ state }) => OVER.has(state));

/**
 * Everything that was proved, in order.
 * @param {Order} order
 * @returns {Entry[]}
 */
export function logOf({ events, by }) {
  return events.map((event, index) => ({
    word: `${late(events, index) ? "late: " : ""}${named(event)}${percent(event)}`,
    state: event.state,
    at: event.at,
    when: index ? `+${gap(event.at - events[0].at)}` : clock(event.at, { ms: true }),
    proof: event.proof,
    message: event.message,
    by: BY_PEOPLE.has(event.state) ? event.by || (index ? "" : by) : "",
    late: late(events, index),
  }));
}

/**
 * What is waited for, and for how long still; "" when nothing is.
 * @param {Order} order @param {number} now
 * @returns {string}
 */
export function waitOf({ state, expires_at }, now) {
  if (!expires_at || (state !== "queued" && state !== "sent")) return "";
  const left = Math.ceil((expires_at - now) / 1000);
  if (left <= 0) return "its time is over";
  const time = left < 120 ? `${left} s` : left < 7200 ? `${Math.floor(left / 60)} min` : `${Math.floor(left / 3600)} h`;
  return `${state === "queued" ? "waits for the device" : "waits for its answer"}, ${time} left`;
}

/** Whether it can be tried to take it back. @param {Order} order @param {number} now */
export const isCancellable = ({ state, expires_at }, now) => state === "queued" && !(expires_at && expires_at <= now);

/** How far a device is with what it works on, 0 to 1; null: it does not say. @param {Order} order */
export function progressOf({ state, events }) {
  const last = events[events.length - 1];
  return state === "received" ? (last?.progress ?? null) : null;
}

/**
 * The course of an update: which steps its device told, and at which it is; [] of what has no steps. What it never told of
 * is not called done, however it ended.
 * @param {Order} order
 * @returns {{step: string, is: "done" | "now" | "untold"}[]}
 */
export function stepsOf({ state, events }) {
  const told = events.flatMap(({ step }) => (step ? [step] : []));
  if (!told.length) return [];
  const at = Math.max(...told.map((step) => STEPS.indexOf(step)));
  const is = (/** @type {string} */ step) => (state === "received" && step === STEPS[at] ? "now" : told.includes(step) ? "done" : "untold");
  return STEPS.map((step) => ({ step, is: is(step) }));
}

/** "sent 3 times"; "" for what was sent once, or not yet. @param {Order} order */
export const timesOf = ({ sends = 0 }) => (sends > 1 ? `sent ${sends} times` : "");

/** @param {number} ms */
function gap(ms) {
  if (ms < 1000) return `${Math.max(0, ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

/** @param {Evidence} event */
function percent({ state, progress }) {
  return state === "received" && progress !== null && progress !== undefined ? ` (${Math.round(progress * 100)} %)` : "";
}

/** @param {{args: any}} order */
const isUpdate = ({ args }) => Boolean(args?.sha256 && args.version);

/** What a device announces, held against the newest update that it answered with ok; nothing of older ones. @param {Order} order @param {Order[]} orders the newest first @param {string} announced */
export function outcomeOf(order, orders, announced) {
  if (order !== orders.find(isUpdate) || order.state !== "succeeded") return "";
  const { version } = /** @type {{version: string}} */ (order.args);
  if (version === announced) return `The device announces ${announced}.`;
  return announced ? `The device still announces ${announced}.` : "The device announces no version.";
}

/** What was ordered: "led = on", "update = 1.5.0". @param {{name: string, args: any}} order */
export function title({ name, args }) {
  if (args === null || args === undefined) return name;
  if (isUpdate({ args })) return `${name} = ${args.version}`;
  return `${name} = ${typeof args === "object" ? JSON.stringify(args) : reading(args)}`;
}

/** @param {Order} order */
export const newestAt = (order) => (order.events.length ? order.events[order.events.length - 1].at : 0);

/** When it was given. @param {Order} order */
export const givenAt = (order) => (order.events.length ? order.events[0].at : 0);
