// What is written: numbers, ages, the rail, evidence, lines and charts.

import assert from "node:assert/strict";
import test from "node:test";
import { alarmOf } from "../../dashboard/static/dashboard/alarm.js";
import { latencies, median } from "../../clients/javascript/live/hops.js";
import { line, title } from "../../dashboard/static/dashboard/evidence.js";
import { flags, fromUtc, reading, span, toUtc } from "../../dashboard/static/dashboard/format.js";
import { shownOf } from "../../dashboard/static/dashboard/hoplist.js";
import { railOf } from "../../dashboard/static/dashboard/rail.js";
import { Track, aligned, grouped, silence } from "../../dashboard/static/dashboard/series.js";
import { path } from "../../dashboard/static/dashboard/spark.js";
import { initial, reduce, want } from "../../clients/javascript/live/state.js";

for (const [value, least, text] of [
  [21.4375, 0, "21.44"], [21.4, 0, "21.4"], [21, 0, "21"], [21, 1, "21.0"], [1013.25, 0, "1013"], [230.46, 0, "230.5"],
  [-0.001, 0, "0.00"], [0.1 + 0.2, 0, "0.3"], [true, 0, "on"], [false, 0, "off"], ["<b>", 0, "<b>"], [undefined, 0, "—"], [1e21, 0, "1e+21"],
]) {
  test(`${JSON.stringify(value)} is written ${text}`, () => assert.equal(reading(value, least), text));
}

for (const [ms, text] of [[0, "0 s"], [-5, "0 s"], [119_999, "119 s"], [120_000, "2 min"], [7_200_000, "2 h"], [172_800_000, "2 d"]]) {
  test(`${ms} ms is written ${text}`, () => assert.equal(span(ms), text));
}

test("a field is written in the browser's zone and sent in UTC, summer and winter", () => {
  for (const utc of ["2026-01-15T12:00:00", "2026-07-15T23:59:59"]) assert.equal(toUtc(fromUtc(utc)), utc);
  const local = new Date("2026-07-15T12:00:00Z");
  assert.equal(fromUtc("2026-07-15T12:00:00").slice(11, 13), String(local.getHours()).padStart(2, "0"));
  assert.deepEqual([fromUtc(""), toUtc("")], ["", ""]);
});

test("flags have names", () => assert.equal(flags(5), "late retained"));

test("the rail counts down, and names the time when a cut lasts", () => {
  const link = { ...initial().link, phase: "waiting", lostAt: 1000, heardAt: 900, retryAt: 5000 };
  const state = { ...initial(), link };
  assert.deepEqual(railOf(state, 1500), { state: "down", word: "reconnecting", detail: "in 4 s" });
  assert.match(railOf(state, 20_000).word, /^stale since \d\d:\d\d$/);
});

test("what is not stored is said in words, until it is, or nobody knows", () => {
  const up = { ...initial(), link: { ...initial().link, phase: "up" }, skew: 500 };
  const hub = { type: "hub", storing: false, because: "the database's disk is full", since: 1_000_500 };
  const full = reduce(up, hub, 1_000_000);
  const { text, since } = alarmOf(full, 1_040_000);
  assert.equal(text + since, "Readings are not being stored: the database's disk is full, for 40 s.");
  assert.equal(alarmOf({ ...full, link: { ...full.link, phase: "waiting" } }, 1_040_000), null);
  assert.equal(alarmOf(reduce(full, { type: "hub", storing: true, because: "", since: 2 }, 1_050_000), 1_050_000), null);
  const welcome = { type: "welcome", server_ts: 1_060_000, heartbeat_s: 20 };
  assert.equal(alarmOf(reduce(full, welcome, 1_060_000), 1_060_000), null);
});

test("the rail is not live before every subscription is", () => {
  const up = { ...initial(), link: { ...initial().link, phase: "up" } };
  assert.equal(railOf(want(up, "main", { devices: ["a"] }), 1).state, "catching");
});

test("evidence says what was proved, when, and by whom", () => {
  const event = (state, at, more = {}) => ({ state, at, proof: "", message: "", progress: null, ...more });
  const events = [event("queued", 1_735_689_600_120), event("sent", 1_735_689_600_131), event("received", 1_735_689_600_180, { progress: 0.4 }), event("succeeded", 1_735_689_602_182, { proof: "the device answered", message: "ok" })];
  const text = line({ id: "x", device: "a", name: "led", args: true, by: "", state: "succeeded", events });
  assert.match(text, /^queued \d\d:\d\d:00\.120 → sent \+11 ms → received \+60 ms \(40 %\) → succeeded \+2\.1 s · the device answered: ok$/);
  assert.equal(title({ name: "led", args: true }), "led = on");
  assert.equal(title({ name: "reboot", args: null }), "reboot");
});

test("a late point is put where it belongs, and replaces its like", () => {
  const track = new Track();
  for (const [ts, value] of [[1000, 1], [3000, 3], [2000, 2], [3000, 4]]) track.add(ts, value, ts === 2000);
  assert.deepEqual([track.times, track.values, [...track.late]], [[1000, 2000, 3000], [1, 2, 4], [2000]]);
  track.trim(2500);
  assert.deepEqual([track.times, [...track.late]], [[3000], []]);
});

test("a track that is fed for ever keeps what is looked at, and not much more", () => {
  const track = new Track();
  for (let ts = 0; ts < 100_000; ts += 10) {
    track.add(ts, ts, ts % 1000 === 0);
    track.keep(1000);
  }
  assert.ok(track.times.length >= 100 && track.times.length <= 126, String(track.times.length));
  assert.ok(track.times[0] <= 99_990 - 1000);
  assert.equal(track.values.length, track.times.length);
  assert.ok(track.late.size <= 2);
  new Track().keep(1000);
});

test("a gap is a gap, and another metric's instant is none", () => {
  const [a, b] = [new Track(), new Track()];
  for (const ts of [0, 1000, 2000, 60_000, 61_000]) a.add(ts, 1);
  b.add(1500, 5);
  const { columns } = aligned([a, b]);
  assert.deepEqual(columns[0], [0, 1, 1.5, 2, 2.001, 60, 61]);
  assert.deepEqual(columns[1], [1, 1, undefined, 1, null, 1, 1]);
  assert.deepEqual(columns[2], [undefined, undefined, 5, undefined, undefined, undefined, undefined]);
});

test("a device that speaks once an hour has no gap in every line", () => {
  assert.equal(silence([0, 3_600_000, 7_200_000]), 10_800_000);
  assert.equal(silence([]), 10_000);
});

test("charts are grouped by unit; switches share one; texts and places have none", () => {
  const metric = (name, unit, type, kind = "") => ({ name, unit, type, class: kind });
  const groups = grouped([metric("led", "", "bool"), metric("t1", "°C", "number"), metric("t2", "°C", "number"), metric("count", "", "number"), metric("mode", "", "text"), metric("lat", "°", "number", "latitude")]);
  assert.deepEqual(groups.map((group) => group.names), [["t1", "t2"], ["count"], ["led"]]);
});

test("figures tell least, mean, greatest and newest of a window", () => {
  const track = new Track();
  for (const [ts, value] of [[0, 100], [1000, 1], [2000, 3]]) track.add(ts, value);
  assert.deepEqual(track.figures(500), { least: 1, most: 3, mean: 2, newest: 3, count: 2 });
  assert.equal(track.figures(9000), null);
});

test("a small line is broken by silence, and calm when its values are", () => {
  assert.equal(path([[0, 1]]), "");
  assert.equal(path([[0, 5], [1000, 5]]), "M0.0 12.0L96.0 12.0");
  assert.equal(path([[0, 1], [1000, 2], [100_000, 1]]).match(/M/g)?.length, 2);
});

const up = (link = {}, more = {}) => ({ ...initial(), ...more, link: { ...initial().link, phase: "up", ...link } });

for (const [what, state, word, detail] of [
  ["was hidden and has heard nothing since", up({ heardAt: 1000, wokeAt: 600_000 }), "checking", ""],
  ["has heard of the hub a moment ago", up({ heardAt: 599_500, wokeAt: 600_000 }), "live", ""],
  ["gets what was under way for long", up({ behind: 12_000 }), "catching up", "12 s behind"],
  ["gets rows that had to be read back", up({ backAt: 599_900 }), "catching up", ""],
  ["is paused", up({}, { subs: { main: { phase: "paused", at: 0 } } }), "paused", ""],
  ["may not see what it shows", up({}, { subs: { main: { phase: "ended", reason: "permission_revoked", error: "" } } }), "ended", "what this page shows is gone, or you may not see it any more"],
  ["was refused", up({}, { subs: { main: { phase: "ended", reason: "device_unknown", error: "There is none." } } }), "ended", "There is none."],
  ["is signed out", up({ phase: "refused", code: 4401, reason: "signed out" }), "signed out", "reload to sign in"],
]) {
  test(`a page that ${what} says: ${word}`, () => {
    const said = railOf(state, 600_000);
    assert.deepEqual([said.word, said.detail], [word, detail]);
  });
}

test("bytes that come slowly are a sign of life, and not of being live", () => {
  assert.equal(railOf(up({ pingAt: 1000, heardAt: 8000 }), 9000).word, "catching up");
  assert.match(railOf(up({ pingAt: 1000, heardAt: 2000 }), 9000).word, /^stale since/);
});

const sample = (ts, received, committed, announced, sent, took, drawn) => ({ ts, received, committed, announced, sent, took, drawn });

test("each hop has its median, and a device without a clock has none", () => {
  const ways = [sample(100, 110, 113, 114, 116, 120, 130), sample(200, 212, 217, 218, 220, 224, 236), sample(null, 310, 313, 314, 316, 319, 330)];
  assert.deepEqual(latencies(ways), { received: 11, committed: 3, announced: 1, sent: 2, took: 4, drawn: 11, whole: 30 });
  assert.equal(latencies([sample(null, 1, 1, 1, 1, 1, 1)]).received, null);
  assert.equal(latencies([sample(9, 5, 5, 5, 5, 5, 5)]).received, 0, "clocks that disagree take nothing off");
  assert.equal(median([]), null);
});

const shown = (state) => shownOf(state, latencies(state.samples));
const BRIDGE = { heard: 1250, batched: 50, frames: 1200, duplicates: 40, rejects: 0, refused: 0, others: 60, announced: 800, unwatched: 400, lost: 0, waiting: 0 };
const SOCKET = { messages: 20, frames: 80, merged: 0, read_back: 0, skipped: 0, gone: 0 };
const pathed = ({ bridge = {}, web = {}, socket = {}, took = {}, counts = {}, samples = [] } = {}) => {
  const message = { bridges: { main: { counts: { ...BRIDGE, ...bridge } } }, web: { frames_missed: 0, ...web }, socket: { ...SOCKET, ...socket }, latency_ms: { received: { p50: 12 }, sent: { p50: null } } };
  return up({ rtt: 8 }, { samples, counts: { ...initial().counts, ...counts }, path: { message, took: { messages: 20, frames: 80, skipped: 0, gone: 0, ...took }, at: 0 } });
};

test("a path on which nothing was lost says so, and what was counted", () => {
  const { verdict, hops, source } = shown(pathed());
  assert.deepEqual(verdict, [{ text: "nothing lost", kind: "well" }]);
  assert.deepEqual(hops.map(({ name }) => name), ["device", "received", "committed", "announced", "sent", "taken", "drawn"]);
  assert.deepEqual(hops.map(({ took }) => took), ["", "12 ms", "—", "—", "—", "4 ms", "—"]);
  assert.match(source, /draws no frames/);
  assert.equal(hops[1].counts[0].text, "1 250 heard");
  assert.equal(hops[6].counts.map(({ text }) => text).join(" · "), "0 drawn · 0 coalesced · 0 lost · 0 holes");
});

for (const [given, text, kind] of [
  [{ bridge: { rejects: 8, others: 52 } }, "8 rejected: kept in Rejects", "healed"],
  [{ bridge: { refused: 2, others: 58 } }, "2 refused: over the limit", "healed"],
  [{ bridge: { others: 57 } }, "3 not accounted for", "lost"],
  [{ bridge: { lost: 10 } }, "10 lost: announcements that the layer did not take, read back", "healed"],
  [{ web: { frames_missed: 4 } }, "4 missed: by the web server, read back", "healed"],
  [{ socket: { skipped: 312 } }, "312 skipped: this page was too slow", "lost"],
  [{ socket: { gone: 5 } }, "5 gone: could not be had any more", "lost"],
  [{ took: { frames: 78 } }, "2 lost: sent, and never came", "lost"],
  [{ counts: { holes: 1 } }, "1 holes: found here, and read back", "healed"],
  [{ counts: { lost: 3 } }, "3 lost: gone since the page was opened", "lost"],
]) {
  test(`what is not zero stands out: ${text}`, () => assert.deepEqual(shown(pathed(given)).verdict, [{ text, kind }]));
}

test("what came while the hub was counting is no fault", () => {
  assert.equal(shown(pathed({ took: { frames: 82, messages: 21 } })).verdict[0].text, "nothing lost");
});

test("a page that drew frames shows its own medians, to the screen", () => {
  const said = shown(pathed({ samples: [sample(100, 110, 113, 114, 116, 120, 1620)] }));
  assert.deepEqual(said.hops.map(({ took }) => took), ["", "10 ms", "3 ms", "1 ms", "2 ms", "4 ms", "1.5 s"]);
  assert.equal(said.whole, "1.5 s");
});
