// PURE. How values, ages and instants are written. The server's half is templatetags/shown_as.py.

export const WORDS = /** @type {Record<string, string>} */ ({
  online: "online",
  stale: "stale",
  offline: "offline",
  never: "never seen",
});

/**
 * How many decimals a number needs, at most what its size makes sensible.
 * @param {number} value
 * @returns {number}
 */
export function decimals(value) {
  const size = Math.abs(value);
  const most = size >= 1000 ? 0 : size >= 100 ? 1 : 2;
  for (let count = 0; count < most; count += 1) {
    if (Math.abs(value - Number(value.toFixed(count))) < 10 ** -(most + 2)) return count;
  }
  return most;
}

/**
 * A value as people read it. `least` keeps the decimals of a changing number steady.
 * @param {unknown} value
 * @param {number} [least]
 * @returns {string}
 */
export function reading(value, least = 0) {
  if (value === null || value === undefined) return "—";
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value !== "number") return String(value);
  const most = Math.abs(value) >= 1000 ? 0 : 6;
  return value.toFixed(Math.min(most, Math.max(least, decimals(value)))).replace(/^-(0(\.0*)?)$/, "$1");
}

/**
 * A time span: 0.4 s, 95 s, 12 min, 3 h, 2 d.
 * @param {number} ms
 * @returns {string}
 */
export function span(ms) {
  const left = Math.max(0, ms);
  if (left < 120_000) return `${Math.floor(left / 1000)} s`;
  if (left < 7_200_000) return `${Math.floor(left / 60_000)} min`;
  if (left < 172_800_000) return `${Math.floor(left / 3_600_000)} h`;
  return `${Math.floor(left / 86_400_000)} d`;
}

/**
 * @param {number} value
 * @param {number} [digits]
 */
const padded = (value, digits = 2) => String(value).padStart(digits, "0");

/**
 * Time of day in the browser's zone; with `ms` to the millisecond.
 * @param {number} at
 * @param {{ms?: boolean, seconds?: boolean}} [how]
 * @returns {string}
 */
export function clock(at, { ms = false, seconds = true } = {}) {
  const date = new Date(at);
  const text = `${padded(date.getHours())}:${padded(date.getMinutes())}`;
  if (!seconds) return text;
  return `${text}:${padded(date.getSeconds())}${ms ? `.${padded(date.getMilliseconds(), 3)}` : ""}`;
}

/**
 * An instant, with its day when that is not today's.
 * @param {number} at
 * @param {number} now
 * @returns {string}
 */
export function instant(at, now) {
  const date = new Date(at);
  if (date.toDateString() === new Date(now).toDateString()) return clock(at);
  return `${date.getFullYear()}-${padded(date.getMonth() + 1)}-${padded(date.getDate())} ${clock(at, { seconds: false })}`;
}

/**
 * An instant with its day, to the second.
 * @param {number} at
 * @returns {string}
 */
export function stamp(at) {
  const date = new Date(at);
  return `${date.getFullYear()}-${padded(date.getMonth() + 1)}-${padded(date.getDate())} ${clock(at)}`;
}

/**
 * The words for a row's flags.
 * @param {number | undefined} bits
 * @returns {string}
 */
export function flags(bits = 0) {
  return [bits & 1 ? "late" : "", bits & 2 ? "clock" : "", bits & 4 ? "retained" : ""].filter(Boolean).join(" ");
}

/**
 * The text of a field for date and time, from UTC to the browser's zone; what is no instant stays as it is.
 * @param {string} text
 * @returns {string}
 */
export function fromUtc(text) {
  const at = Date.parse(`${text}Z`);
  return Number.isNaN(at) ? text : new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/**
 * And back.
 * @param {string} text
 * @returns {string}
 */
export function toUtc(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? text : new Date(at).toISOString().slice(0, 19);
}
