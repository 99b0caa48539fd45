// What the replay bar draws, and what the rail says of a replay.

import assert from "node:assert/strict";
import { test } from "node:test";

import { stamp } from "../../dashboard/static/dashboard/format.js";
import { railOf } from "../../dashboard/static/dashboard/rail.js";
import { band } from "../../dashboard/static/dashboard/scrubber.js";
import { initial, reduce, want } from "../../clients/javascript/live/state.js";

const NOW = 1_790_000_000_000;

const replaying = () => {
  const up = reduce(initial(), { type: "welcome", server_ts: NOW, heartbeat_s: 20 }, NOW);
  return want(up, "replay-1", { devices: ["pump-1"], replay: { from: NOW - 60_000, speed: 10 } });
};

test("a replay says its moment and its speed, also before the first frame has come", () => {
  const asked = replaying();
  assert.deepEqual(railOf(asked, NOW), { state: "replay", word: "replay", detail: `${stamp(NOW - 60_000)} · 10×` });
  const data = { type: "data", id: asked.send.at(-1).id, phase: "replay", at: NOW - 50_000, devices: {} };
  assert.equal(railOf(reduce(asked, data, NOW), NOW).detail, `${stamp(NOW - 50_000)} · 10×`);
});

test("a replay that has become live is live", () => {
  const asked = replaying();
  assert.equal(railOf(reduce(asked, { type: "live", id: asked.send.at(-1).id }, NOW), NOW).state, "live");
});

test("each point is drawn at its time, from its least to its greatest", () => {
  const drawn = band([[0, 10, 15, 20, 5, 15], [500, 0, 0, 0, 1, 0]], 0, 1000, 100);
  assert.match(drawn, /^M0\.0 6\.0h100\.0V52\.0h-100\.0z/);
  assert.match(drawn, /M500\.0 90\.0h100\.0V94\.0h-100\.0z$/);
});

test("texts and nothing are drawn as nothing", () => {
  assert.equal(band([], 0, 1000, 100), "");
  assert.equal(band(/** @type {any} */ ([[0, null, null, null, 1, "open"]]), 0, 1000, 0), "");
});
