// PURE. How long each hop of the path takes, from the ways that frames went of late.

/** @typedef {import("./types.js").Sample} Sample */

/** From where to where, in the order of the path. */
export const HOPS = /** @type {["ts" | "received" | "committed" | "announced" | "sent" | "took", "received" | "committed" | "announced" | "sent" | "took" | "drawn"][]} */ ([
  ["ts", "received"],
  ["received", "committed"],
  ["committed", "announced"],
  ["announced", "sent"],
  ["sent", "took"],
  ["took", "drawn"],
]);

/**
 * The middle one; null of none.
 * @param {number[]} numbers @returns {number | null}
 */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (!sorted.length) return null;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/**
 * The median of each hop in ms; null: not known, as of a device without a clock of its own. Clocks that disagree by a
 * few ms make no hop shorter than nothing. `whole`: from the device (without a clock: from the hub's first sight of the
 * frame) to the screen.
 * @param {Sample[]} samples
 * @returns {Record<"received" | "committed" | "announced" | "sent" | "took" | "drawn" | "whole", number | null>}
 */
export function latencies(samples) {
  const found = HOPS.map(([from, to]) => [to, median(samples.flatMap((one) => span(one[from], one[to])))]);
  const whole = median(samples.flatMap((one) => span(one.ts ?? one.received, one.drawn)));
  return Object.fromEntries([...found, ["whole", whole]]);
}

/** @param {number | null} from @param {number} to @returns {number[]} */
const span = (from, to) => (from === null || !to ? [] : [Math.max(0, to - from)]);
