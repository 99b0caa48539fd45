// PURE. What the form of a job says, as the hub is asked for it, and what the hub would do, in words.

import { figure, plural } from "./tally.js";

/**
 * @typedef {object} Filled  the fields of the form, as they are written
 * @property {string[]} devices @property {string} tag @property {string} presence
 * @property {string} name @property {unknown} args @property {boolean} lacks  an argument @property {string} ttl @property {string} reason
 * @property {string} rate @property {string} stages @property {string} limit
 * @property {string} when @property {string} at @property {string} cron @property {string} zone @property {string} label
 */

/** @param {string} text @returns {number | null} */
const number = (text) => (text.trim() === "" ? null : Number(text));

/** "5, 50, 100" → [5, 50, 100]; what is no number stays wrong, so that the hub says so. @param {string} text */
export const sharesOf = (text) => text.split(/[\s,;→%]+/).filter(Boolean).map(Number);

/**
 * @param {string} fleet @param {Filled} filled
 * @returns {{path: string, body: Record<string, unknown>}}
 */
export function asked(fleet, filled) {
  const { devices, tag, presence, when } = filled;
  const selection = { ...(devices.length ? { devices } : {}), ...(tag ? { tag } : {}), ...(presence ? { presence } : {}) };
  const body = {
    fleet, name: filled.name, args: filled.args ?? null, ttl_s: Number(filled.ttl), reason: filled.reason.trim(), selection,
    rate: number(filled.rate), stages: sharesOf(filled.stages), limit: number(filled.limit),
  };
  if (when === "now") return { path: "jobs/", body };
  const time = when === "once" ? { at: Date.parse(filled.at) } : { cron: filled.cron.trim(), zone: filled.zone.trim() || "UTC" };
  return { path: "schedules/", body: { ...body, title: filled.label.trim(), ...time } };
}

/** What is missing before the hub need be asked; "" when nothing is. @param {Filled} filled */
export function missing({ name, lacks, when, at, cron }) {
  if (!name) return "Choose a command.";
  if (lacks) return "Choose its argument.";
  if (when === "once" && Number.isNaN(Date.parse(at))) return "Say when.";
  return when === "cron" && !cron.trim() ? "Say when: 0 6 * * 1-5 is at six on working days." : "";
}

/** "Will be given to 42 devices, 3 cannot take it:". @param {{devices: number, refused: number}} preview */
export function previewed({ devices, refused }) {
  if (!devices) return "No device is selected.";
  if (refused === devices) return devices === 1 ? "The one device cannot take it:" : `None of the ${figure(devices)} devices can take it:`;
  return `Will be given to ${plural(devices - refused, "device")}${refused ? `; ${figure(refused)} cannot take it:` : "."}`;
}

/**
 * Who cannot take it, and why, a line for each reason.
 * @param {{refused: number, examples: {device: string, refused: string}[]}} preview
 * @returns {string[]}
 */
export function grouped({ refused, examples }) {
  /** @type {Map<string, string[]>} */
  const reasons = new Map();
  for (const one of examples) reasons.set(one.refused, [...(reasons.get(one.refused) ?? []), one.device]);
  const lines = [...reasons].map(([reason, devices]) => `${devices.join(", ")}: ${reason}`);
  return refused > examples.length ? [...lines, `and ${plural(refused - examples.length, "more device")}`] : lines;
}

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/** @param {string} field @returns {number | null} */
const plain = (field) => (/^\d+$/.test(field) ? Number(field) : null);

/**
 * A line of cron in words, where they are few: "at 06:00 on Monday to Friday"; "" where it is not so simple.
 * @param {string} line
 */
export function cronWords(line) {
  const [minute = "", hour = "", day = "", month = "", week = "", ...rest] = line.trim().split(/\s+/);
  if (rest.length || !week || month !== "*") return "";
  const when = timesOf(minute, hour);
  const which = daysOf(day, week);
  return when && which !== null ? `${when}${which}` : "";
}

/** @param {string} minute @param {string} hour */
function timesOf(minute, hour) {
  const [at, past] = [plain(hour), plain(minute)];
  const each = /^\*\/(\d+)$/.exec(minute);
  if (minute === "*" && hour === "*") return "every minute";
  if (each && hour === "*") return `every ${each[1]} minutes`;
  if (past !== null && hour === "*") return past ? `every hour, ${plural(past, "minute")} past` : "every hour";
  if (past !== null && at !== null) return `at ${String(at).padStart(2, "0")}:${String(past).padStart(2, "0")}`;
  return "";
}

/** @param {string} day @param {string} week @returns {string | null} */
function daysOf(day, week) {
  if (day === "*" && week === "*") return "";
  if (week === "*" && plain(day) !== null) return ` on day ${day} of the month`;
  const range = /^([0-7])(?:-([0-7]))?$/.exec(week);
  if (day !== "*" || !range) return null;
  return range[2] ? ` on ${DAYS[Number(range[1])]} to ${DAYS[Number(range[2])]}` : ` on ${DAYS[Number(range[1])]}s`;
}
