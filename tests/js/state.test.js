// The reducer's own rules, beyond the golden conversations.

import assert from "node:assert/strict";
import test from "node:test";
import * as state from "../../dashboard/static/dashboard/state.js";

const NOW = 1_735_689_600_000;
const WELCOME = { type: "welcome", v: 1, server_ts: NOW + 5000, heartbeat_s: 20, credit: 32 };

function live(request = { devices: ["pump-1"], since: { last_s: 60 } }) {
  let now = state.reduce(state.want(state.initial(), "main", request), WELCOME, NOW);
  now = state.reduce(now, { type: "ok", id: "main.1", head: { "pump-1": 4 } }, NOW);
  return state.reduce(now, { type: "live", id: "main.1" }, NOW);
}

test("the hub's clock is known from the welcome", () => {
  assert.equal(live().skew, 5000);
});

test("a step changes no earlier state", () => {
  const before = live();
  const frozen = structuredClone(before);
  state.reduce(before, { type: "data", id: "main.1", phase: "live", devices: { "pump-1": { prev: 4, frames: [[5, NOW, { t: 1 }]] } } }, NOW);
  assert.deepEqual(before, frozen);
});

test("what a step brought is not brought again", () => {
  const data = { type: "data", id: "main.1", phase: "live", devices: { "pump-1": { prev: 4, frames: [[5, NOW, { t: 1 }]] } } };
  const now = state.reduce(live(), data, NOW);
  assert.equal(now.taken.length, 1);
  assert.equal(state.reduce(now, { type: "pong" }, NOW).taken.length, 0);
});

test("a subscription wanted again replaces the one on the wire", () => {
  const now = state.want(live(), "main", { devices: ["pump-1"], since: { last_s: 3600 } });
  assert.deepEqual(now.send, [
    { type: "unsub", id: "main.1" },
    { type: "sub", id: "main.2", devices: ["pump-1"], since: { last_s: 3600 } },
  ]);
});

test("a cut in the middle of history asks for the history again, and takes no row twice", () => {
  let now = state.reduce(state.want(state.initial(), "main", { devices: ["a"], since: { last_s: 60 } }), WELCOME, NOW);
  now = state.reduce(now, { type: "ok", id: "main.1", head: { a: 3 } }, NOW);
  now = state.reduce(now, { type: "data", id: "main.1", phase: "history", devices: { a: { prev: 0, frames: [[1, 1, {}], [2, 2, {}]] } }, more: true }, NOW);
  now = state.closed(now, { code: 1006, retryAt: NOW + 1 }, NOW);
  now = state.reduce(state.opening(now), WELCOME, NOW);
  assert.deepEqual(now.send, [{ type: "sub", id: "main.2", devices: ["a"], since: { last_s: 60 } }]);
  now = state.reduce(now, { type: "data", id: "main.2", phase: "history", devices: { a: { prev: 0, frames: [[1, 1, {}], [2, 2, {}], [3, 3, {}]] } } }, NOW);
  assert.deepEqual(now.taken[0].rows, [[3, 3, {}]]);
});

test("an order that was not confirmed is asked again under its key after a cut, but not much later", () => {
  const ordered = state.order(live(), { id: "c1", device: "pump-1", name: "led", args: true, key: "k" }, NOW);
  const cut = state.opening(state.closed(ordered, { code: 1006, retryAt: NOW }, NOW));
  const soon = state.reduce(cut, WELCOME, NOW + 2000).send.filter((message) => message.type === "cmd");
  assert.deepEqual(soon.map((message) => message.key), ["k"]);
  assert.equal(state.reduce(cut, WELCOME, NOW + 60_000).send.filter((message) => message.type === "cmd").length, 0);
});

test("a refused order keeps the hub's sentence", () => {
  const ordered = state.order(live(), { id: "c1", device: "pump-1", name: "led", args: 7, key: "k" }, NOW);
  const now = state.reduce(ordered, { type: "err", id: "c1", code: "bad_args", message: "led takes on or off.", retry: false }, NOW);
  assert.equal(now.asks.c1.error, "led takes on or off.");
  assert.equal(now.subs.main.phase, "live");
});

test("a withdrawn permission ends the subscription, for good", () => {
  const now = state.reduce(live(), { type: "end", id: "main.1", reason: "permission_revoked" }, NOW);
  assert.equal(now.subs.main.phase, "ended");
  const again = state.reduce(state.opening(state.closed(now, { code: 1006, retryAt: 1 }, NOW)), WELCOME, NOW);
  assert.deepEqual(again.send, []);
});

test("messages of a newer hub, and for unknown subscriptions, change nothing that is shown", () => {
  const now = live();
  for (const message of [{ type: "tomorrow" }, { type: "live", id: "zz" }, { type: "gap", id: "zz", device: "x", from: 1, to: 0 }, { type: "fleet", id: "zz", devices: { x: {} } }]) {
    const next = state.reduce(now, message, NOW);
    assert.deepEqual({ ...next, link: now.link, send: [], taken: [], touched: [] }, { ...now, send: [], taken: [], touched: [] });
  }
});

test("progress of a received command is brought up to date in place", () => {
  const said = (progress) => ({ type: "cmd_state", command: "x", device: "pump-1", name: "open", args: null, state: "received", proof: "", at: NOW, by: "a", message: "", progress });
  const now = state.reduce(state.reduce(live(), said(0.1), NOW), said(0.6), NOW);
  assert.deepEqual(now.orders.x.events.map((event) => event.progress), [0.6]);
});
