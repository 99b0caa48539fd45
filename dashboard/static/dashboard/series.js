// PURE. The points of one metric, and how several become the columns of a chart. Times in ms inside, seconds in charts.

import { decimals } from "./format.js";

// The hub's own rule for presence: silence is three usual intervals, and at least this long.
const USUAL_INTERVALS = 3;
const SHORTEST_GAP_MS = 10_000;
const LEARNED_FROM = 50;
// What is forgotten is forgotten in large pieces, for each costs as much as all that is kept.
const KEPT_MORE = 1.25;

/**
 * How long a silence has to be to be a gap, told by the usual distance of points.
 * @param {number[]} times  ms, sorted
 * @returns {number}
 */
export function silence(times) {
  const recent = times.slice(-LEARNED_FROM);
  const steps = recent.slice(1).map((ts, index) => ts - recent[index]).sort((a, b) => a - b);
  const usual = steps.length ? steps[(steps.length - 1) >> 1] : 0;
  return Math.max(SHORTEST_GAP_MS, USUAL_INTERVALS * usual);
}

/** One metric's points, sorted by time; a second value at the same instant replaces the first. */
export class Track {
  constructor() {
    /** @type {number[]} */
    this.times = [];
    /** @type {number[]} */
    this.values = [];
    /** @type {Set<number>} */
    this.late = new Set();
    /** Decimals that any of the values needed, so that a changing number does not jump about. */
    this.decimals = 0;
  }

  /** @param {number} ts @param {number} value @param {boolean} [late] */
  add(ts, value, late = false) {
    const at = this.#place(ts);
    const known = this.times[at] === ts ? 1 : 0;
    if (at === this.times.length) {
      this.times.push(ts);
      this.values.push(value);
    } else {
      this.times.splice(at, known, ts);
      this.values.splice(at, known, value);
    }
    if (late) this.late.add(ts);
    this.decimals = Math.max(this.decimals, decimals(value));
  }

  /** Where ts is, or belongs. @param {number} ts */
  #place(ts) {
    let low = 0;
    let high = this.times.length;
    if (!high || ts > this.times[high - 1]) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < ts) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Forget what is older. @param {number} ts */
  trim(ts) {
    const at = this.#place(ts);
    for (const old of this.times.splice(0, at)) this.late.delete(old);
    this.values.splice(0, at);
  }

  /** Keep so many ms before the newest, and not much more: a page that is open for weeks stays small. @param {number} ms */
  keep(ms) {
    const newest = this.times[this.times.length - 1];
    if (newest - this.times[0] > ms * KEPT_MORE) this.trim(newest - ms);
  }

  /** Least, mean and greatest value since `ts`, the newest, and how many. @param {number} ts */
  figures(ts) {
    const values = this.values.slice(this.#place(ts));
    if (!values.length) return null;
    let [least, most, sum] = [Infinity, -Infinity, 0];
    for (const value of values) {
      least = Math.min(least, value);
      most = Math.max(most, value);
      sum += value;
    }
    return { least, most, mean: sum / values.length, newest: values[values.length - 1], count: values.length };
  }
}

/**
 * Columns for a chart: one of times (s), one for each track. In a track's column `null` breaks the line (a gap),
 * `undefined` says nothing (another track has a point there).
 * @param {Track[]} tracks
 * @returns {{columns: [number[], ...(number | null | undefined)[][]], late: number[][]}} late: indices for each track
 */
export function aligned(tracks) {
  const breaks = tracks.map(gaps);
  const times = [...new Set([...tracks.flatMap((track) => track.times), ...breaks.flat()])].sort((a, b) => a - b);
  const index = new Map(times.map((ts, at) => [ts, at]));
  const late = tracks.map((track) => [...track.late].map((ts) => index.get(ts) ?? 0).sort((a, b) => a - b));
  const columns = tracks.map((track, which) => {
    /** @type {(number | null | undefined)[]} */
    const column = new Array(times.length).fill(undefined);
    for (const ts of breaks[which]) column[index.get(ts) ?? 0] = null;
    track.times.forEach((ts, at) => (column[index.get(ts) ?? 0] = track.values[at]));
    return column;
  });
  return { columns: [times.map((ts) => ts / 1000), ...columns], late };
}

/** The instants at which a track's line breaks. @param {Track} track @returns {number[]} */
function gaps(track) {
  const longest = silence(track.times);
  const found = [];
  for (let at = 1; at < track.times.length; at += 1) {
    if (track.times[at] - track.times[at - 1] > longest) found.push(track.times[at - 1] + 1);
  }
  return found;
}

/**
 * Which metrics share a chart: numbers of one unit, all switches together; texts and places have none.
 * @param {{name: string, unit: string, class: string, type: string}[]} metrics
 * @returns {{id: string, title: string, kind: "number" | "bool", names: string[]}[]}
 */
export function grouped(metrics) {
  /** @type {Map<string, {id: string, title: string, kind: "number" | "bool", names: string[]}>} */
  const groups = new Map();
  for (const { name, unit, class: kind, type } of metrics) {
    if ((type !== "number" && type !== "bool") || PLACE.has(kind)) continue;
    const id = type === "bool" ? "switches" : unit ? `unit ${unit}` : `metric ${name}`;
    const title = type === "bool" ? "on / off" : unit;
    const group = groups.get(id) ?? { id, title, kind: type, names: [] };
    group.names.push(name);
    groups.set(id, group);
  }
  return [...groups.values()].sort((a, b) => Number(a.kind === "bool") - Number(b.kind === "bool"));
}

const PLACE = new Set(["latitude", "longitude", "accuracy", "altitude", "course"]);
