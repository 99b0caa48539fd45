// PURE. What is proved of a command, in a line.

import { clock, reading } from "./format.js";

const WORDS = /** @type {Record<string, string>} */ ({ timed_out: "timed out" });

/** @typedef {import("../live/types.js").Order} Order */

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
  for (const event of rest) steps.push(`${wordOf(event.state)} +${gap(event.at - first.at)}${percent(event)}`);
  const last = events[events.length - 1];
  const said = last.message ? `: ${last.message}` : "";
  return `${steps.join(" → ")}${last.proof ? ` · ${last.proof}` : ""}${said}`;
}

/** @param {number} ms */
function gap(ms) {
  if (ms < 1000) return `${Math.max(0, ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

/** @param {import("../live/types.js").Evidence} event */
function percent({ state, progress }) {
  return state === "received" && progress !== null && progress !== undefined ? ` (${Math.round(progress * 100)} %)` : "";
}

/** What was ordered: "led = on". @param {{name: string, args: unknown}} order */
export function title({ name, args }) {
  if (args === null || args === undefined) return name;
  return `${name} = ${typeof args === "object" ? JSON.stringify(args) : reading(args)}`;
}

/** @param {Order} order */
export const newestAt = (order) => (order.events.length ? order.events[order.events.length - 1].at : 0);

/** When it was given. @param {Order} order */
export const givenAt = (order) => (order.events.length ? order.events[0].at : 0);
