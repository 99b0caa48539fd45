// The live rail: says in a word whether what is shown is true now. `railOf` decides (PURE), `show` writes it.

import * as alarm from "./alarm.js";
import { clock } from "./format.js";

// Silence after a ping that is longer than this is no longer called live.
const OVERDUE_MS = 3000;
// How long a skip is still told of.
const LAG_SHOWN_MS = 5000;
// A cut shorter than this is not worth naming the time since when.
const SHORT_CUT_MS = 8000;

/**
 * What the rail says. `state`: live | catching | down.
 * @param {import("./state.js").State} state
 * @param {number} now
 * @returns {{state: string, word: string, detail: string}}
 */
export function railOf({ link, subs, counts }, now) {
  if (link.phase === "refused") return { state: "down", word: link.reason || "not live", detail: "" };
  if (link.phase !== "up") return cut(link, now);
  if (link.pingAt && now - link.pingAt > OVERDUE_MS) {
    return { state: "down", word: `stale since ${clock(link.heardAt, { seconds: false })}`, detail: "the hub does not answer" };
  }
  const ended = Object.values(subs).find((sub) => sub.phase === "ended");
  if (ended) return { state: "down", word: "not live", detail: ended.error };
  if (link.lagAt && now - link.lagAt < LAG_SHOWN_MS) {
    return { state: "catching", word: "catching up", detail: `${counts.coalesced} coalesced` };
  }
  if (Object.values(subs).some((sub) => sub.phase !== "live")) return { state: "catching", word: "catching up", detail: "" };
  return { state: "live", word: "live", detail: link.rtt ? `${Math.round(link.rtt)} ms` : "" };
}

/** @param {import("./state.js").Link} link @param {number} now */
function cut({ phase, lostAt, retryAt, heardAt }, now) {
  if (!lostAt) return { state: "catching", word: "connecting", detail: "" };
  const detail = phase === "waiting" ? `reconnecting in ${Math.max(0, Math.ceil((retryAt - now) / 1000))} s` : "reconnecting";
  if (now - lostAt < SHORT_CUT_MS) return { state: "down", word: "reconnecting", detail: detail.replace("reconnecting", "").trim() };
  return { state: "down", word: `stale since ${clock(heardAt || lostAt, { seconds: false })}`, detail };
}

/**
 * Write it and the banner, and tell the page's styles, so that nothing looks alive that is not.
 * @param {import("./state.js").State} state
 * @param {number} now
 */
export function show(state, now) {
  alarm.show(state, now);
  const { state: kind, word, detail } = railOf(state, now);
  const rail = document.getElementById("rail");
  if (!rail) return;
  if (rail.dataset.state !== kind) rail.dataset.state = kind;
  if (document.documentElement.dataset.link !== kind) document.documentElement.dataset.link = kind;
  write("rail-word", word);
  write("rail-detail", detail);
  const { frames, coalesced, lost, holes } = state.counts;
  const title = `${frames} frames taken · ${coalesced} coalesced · ${lost} lost · ${holes} holes read back`;
  if (rail.title !== title) rail.title = title;
}

/** @param {string} id @param {string} text */
function write(id, text) {
  const part = document.getElementById(id);
  if (part && part.textContent !== text) part.textContent = text;
}
