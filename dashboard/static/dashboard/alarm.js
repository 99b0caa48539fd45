// The banner that says that readings are not being stored, and why. `alarmOf` decides (PURE), `show` writes it.

import { span } from "./format.js";

/**
 * What the banner says; null: nothing is wrong, as far as the page knows.
 * @param {import("../live/types.js").State} state
 * @param {number} now
 * @returns {{text: string, since: string, comfort: string} | null}
 */
export function alarmOf({ hub, link, skew }, now) {
  if (hub.storing || link.phase !== "up") return null;
  return {
    text: `Readings are not being stored: ${hub.because}`,
    since: `, for ${span(now + skew - hub.since)}.`,
    comfort: "Nothing that devices send with QoS 1 is lost: the broker keeps it.",
  };
}

/** @param {import("../live/types.js").State} state @param {number} now */
export function show(state, now) {
  const banner = document.getElementById("alarm");
  if (!banner) return;
  const alarm = alarmOf(state, now);
  if (banner.hidden === Boolean(alarm)) banner.hidden = !alarm;
  write("alarm-text", alarm?.text ?? "");
  write("alarm-since", alarm?.since ?? "");
  write("alarm-comfort", alarm?.comfort ?? "");
}

/** @param {string} id @param {string} text */
function write(id, text) {
  const part = document.getElementById(id);
  if (part && part.textContent !== text) part.textContent = text;
}
