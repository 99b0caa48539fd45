// Each golden conversation leads to what it says, and asks for exactly what it says.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";
import { railOf } from "../../dashboard/static/dashboard/rail.js";
import * as state from "../../dashboard/static/dashboard/state.js";

const folder = new URL("../golden/", import.meta.url);
const NOW = 1_735_689_600_000;
const WELCOME = { type: "welcome", v: 1, user: "alice", server_ts: NOW, heartbeat_s: 20, credit: 32, limits: {} };

/** What the page wants before the first message: the golden file's first subscription. */
function wanted(steps) {
  const first = steps.find((step) => step.client).client;
  return first.fleet ? { fleet: first.fleet } : { devices: first.devices, since: first.since };
}

function play({ steps }) {
  let now = state.want(state.initial(), "main", wanted(steps));
  const sent = [];
  const taken = {};
  const become = (next) => {
    now = next;
    sent.push(...now.send);
    for (const { device, rows } of now.taken) (taken[device] ??= []).push(...rows.map(([seq]) => seq));
  };
  become(state.reduce(now, WELCOME, NOW));
  for (const step of steps) {
    if (step.client) assert.deepEqual(sent.shift(), step.client);
    if (step.hub) become(state.reduce(now, step.hub, NOW));
    if (step.order) become(state.order(now, step.order, NOW));
    if (step.cut) {
      become(state.closed(now, { code: step.cut, retryAt: NOW + 500 }, NOW));
      become(state.reduce(state.opening(now), WELCOME, NOW + 500));
    }
  }
  assert.deepEqual(sent, [], "nothing more was asked");
  return { now, taken };
}

for (const name of readdirSync(folder).filter((one) => one.endsWith(".json"))) {
  const golden = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
  test(`${name}: ${golden.about}`, () => {
    const { now, taken } = play(golden);
    const { expect } = golden;
    assert.deepEqual(taken, expect.taken);
    assert.deepEqual(now.counts, expect.counts);
    assert.equal(now.subs.main.phase, expect.phase);
    assert.equal(railOf(now, NOW + 1000).word, expect.rail);
    if (expect.cursor) assert.deepEqual(now.subs.main.cursor, expect.cursor);
    const states = Object.fromEntries(Object.values(now.orders).map(({ id, events }) => [id, events.map((event) => event.state)]));
    assert.deepEqual(states, expect.orders ?? {});
    const values = Object.fromEntries(Object.entries(now.fleet).map(([key, summary]) => [key, summary.values]));
    assert.deepEqual(values, expect.fleet ?? {});
  });
}
