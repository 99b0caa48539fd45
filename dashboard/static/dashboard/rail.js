// The live rail: says in a word whether what is shown is true now. `railOf` decides (PURE), `show` writes it.

import * as alarm from "./alarm.js";
import { clock, span, stamp } from "./format.js";

// Silence after a ping that is longer than this is no longer called live.
const OVERDUE_MS = 1500;
// Nor is what was heard longer ago than this, when the page comes back to sight.
const FRESH_MS = 2000;
// How long a skip is still told of, and rows that had to be read back.
const LAG_SHOWN_MS = 5000;
const BACK_SHOWN_MS = 1000;
// A message that was under way for longer than this is not live: with what comes after it, it may be a second late.
const BEHIND_MS = 500;
// A cut shorter than this is not worth naming the time since when.
const SHORT_CUT_MS = 8000;
const ENDED = /** @type {Record<string, string>} */ ({
  permission_revoked: "what this page shows is gone, or you may not see it any more",
});
const REFUSED = /** @type {Record<string, string>} */ ({ "signed out": "reload to sign in" });

/** @typedef {{state: "live" | "catching" | "replay" | "down", word: string, detail: string}} Rail */
/** @typedef {import("../live/types.js").State} State */

/**
 * What the rail says.
 * @param {State} state
 * @param {number} now
 * @returns {Rail}
 */
export function railOf(state, now) {
  const { link, subs } = state;
  if (link.phase === "refused") return { state: "down", word: link.reason || "not live", detail: REFUSED[link.reason] ?? "" };
  if (link.phase !== "up") return cut(link, now);
  if (overdue(link, now) && now - link.heardAt > OVERDUE_MS) {
    return { state: "down", word: `stale since ${clock(link.heardAt, { seconds: false })}`, detail: "the hub does not answer" };
  }
  const ended = Object.values(subs).find((sub) => sub.phase === "ended" && sub.reason !== "replay_done");
  if (ended) return { state: "down", word: "ended", detail: ended.error || ENDED[ended.reason] || ended.reason };
  return replay(state) ?? behind(state, now) ?? still(state) ?? { state: "live", word: "live", detail: link.rtt ? `${Math.round(link.rtt)} ms` : "" };
}

/** Whether an answer is late. @param {import("../live/types.js").Link} link @param {number} now */
const overdue = ({ pingAt }, now) => pingAt > 0 && now - pingAt > OVERDUE_MS;

/** @param {State} state @param {number} now @returns {Rail | null} */
function behind({ link, subs, counts }, now) {
  if (link.wokeAt > link.heardAt + FRESH_MS) return { state: "catching", word: "checking", detail: "" };
  if (link.lagAt && now - link.lagAt < LAG_SHOWN_MS) {
    return { state: "catching", word: "catching up", detail: `${counts.coalesced} coalesced` };
  }
  if (link.behind > BEHIND_MS) return { state: "catching", word: "catching up", detail: `${span(link.behind)} behind` };
  if (overdue(link, now)) return { state: "catching", word: "catching up", detail: "slow link" };
  if (link.backAt && now - link.backAt < BACK_SHOWN_MS) return { state: "catching", word: "catching up", detail: "" };
  const waits = Object.values(subs).some((sub) => ["wanted", "asked", "history"].includes(sub.phase));
  return waits ? { state: "catching", word: "catching up", detail: "" } : null;
}

/** @param {State} state @returns {Rail | null} */
function replay({ subs }) {
  const sub = Object.values(subs).find(({ request, phase }) => request?.replay && phase !== "live" && phase !== "ended");
  if (!sub?.request.replay) return null;
  const { from, speed = 1 } = sub.request.replay;
  return { state: "replay", word: "replay", detail: `${stamp(sub.at || from)} · ${sub.phase === "paused" ? "paused" : `${speed}×`}` };
}

/** A page that shows another time than now. @param {State} state @returns {Rail | null} */
function still({ subs }) {
  const all = Object.values(subs);
  const sub = all.find(({ phase }) => phase === "replay") ?? all.find(({ reason }) => reason === "replay_done") ?? all.find(({ phase }) => phase === "paused");
  if (!sub) return null;
  const word = sub.phase === "ended" ? "replay done" : sub.phase;
  return { state: "replay", word, detail: sub.at ? `at ${clock(sub.at)}` : "" };
}

/** @param {import("../live/types.js").Link} link @param {number} now @returns {Rail} */
function cut({ phase, lostAt, retryAt, heardAt }, now) {
  if (!lostAt) return { state: "catching", word: "connecting", detail: "" };
  const detail = phase === "waiting" ? `reconnecting in ${Math.max(0, Math.ceil((retryAt - now) / 1000))} s` : "reconnecting";
  if (now - lostAt < SHORT_CUT_MS) return { state: "down", word: "reconnecting", detail: detail.replace("reconnecting", "").trim() };
  return { state: "down", word: `stale since ${clock(heardAt || lostAt, { seconds: false })}`, detail };
}

/**
 * Write it and the banner, and tell the page's styles, so that nothing looks alive that is not.
 * @param {State} state
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
  write("rail-said", word);
  write("rail-detail", detail);
}

/** @param {string} id @param {string} text */
function write(id, text) {
  const part = document.getElementById(id);
  if (part && part.textContent !== text) part.textContent = text;
}
