// The reducer's own rules, beyond the golden conversations.

import assert from "node:assert/strict";
import test from "node:test";
import * as state from "../../clients/javascript/live/state.js";

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
  assert.equal(now.news.length, 1);
  assert.equal(state.reduce(now, { type: "pong" }, NOW).news.length, 0);
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
  assert.deepEqual(now.news[0].rows, [[3, 3, {}]]);
});

test("a hole in the middle of history loses no history of a device that has not come yet", () => {
  const request = { devices: ["a", "b"], since: { last_s: 60 } };
  let now = state.reduce(state.want(state.initial(), "main", request), WELCOME, NOW);
  now = state.reduce(now, { type: "ok", id: "main.1", head: { a: 5, b: 5 } }, NOW);
  const part = (/** @type {number} */ prev) => ({ type: "data", id: "main.1", phase: "history", devices: { a: { prev, frames: [[prev + 1, 1, {}]] } }, more: true });
  now = state.reduce(state.reduce(now, part(0), NOW), part(3), NOW);
  assert.deepEqual(now.send, [{ type: "unsub", id: "main.1" }, { type: "sub", id: "main.2", ...request }]);
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
    assert.deepEqual({ ...next, link: now.link, socket: now.socket, send: [], news: [] }, { ...now, send: [], news: [] });
  }
});

test("progress of a received command is brought up to date in place", () => {
  const said = (progress) => ({ type: "cmd_state", command: "x", device: "pump-1", name: "open", args: null, state: "received", proof: "", at: NOW, by: "a", message: "", progress });
  const now = state.reduce(state.reduce(live(), said(0.1), NOW), said(0.6), NOW);
  assert.deepEqual(now.orders.x.events.map((event) => event.progress), [0.6]);
});

test("the hub's clock is known as well as the least late message tells it, and how late each is", () => {
  const data = (seq, sent) => ({ type: "data", id: "main.1", phase: "live", sent, devices: { "pump-1": { prev: seq - 1, frames: [[seq, NOW, {}]] } } });
  let now = state.reduce(live(), data(5, NOW + 5020), NOW + 10);
  assert.deepEqual([now.skew, now.link.behind], [5010, 0]);
  now = state.reduce(now, data(6, NOW + 6010), NOW + 3000);
  assert.deepEqual([now.skew, now.link.behind], [5010, 2000]);
  const slow = data(7, NOW + 8010);
  now = state.reduce(now, { ...slow, devices: { "pump-1": { ...slow.devices["pump-1"], hops: [NOW + 7010, NOW + 8000, NOW + 8005] } } }, NOW + 3000);
  assert.deepEqual([now.link.transit, now.link.behind], [0, 1000], "the hub had it for a second");
});

const after = (now, ...messages) => messages.reduce((before, [at, message]) => state.reduce(message.type === "pong" ? state.pinged(before, at - 20) : before, message, at), now);
const late = { type: "data", id: "main.1", phase: "live", sent: NOW + 5000, devices: { "pump-1": { prev: 4, frames: [[5, NOW, { t: 1 }]] } } };

test("a clock that was set forward does not make the page late for ever", () => {
  let now = after(live(), [NOW + 60_000, late], [NOW + 60_020, { type: "pong" }]);
  assert.equal(now.link.behind, 60_000);
  assert.deepEqual(now.send, [{ type: "path" }]);
  now = after(now, [NOW + 60_040, { type: "path", at: NOW + 5040 }]);
  assert.deepEqual([now.link.behind, now.skew], [0, -55_000]);
});

test("a slow link that is empty for a moment is not taken for a clock that was set", () => {
  const now = after(live(), [NOW + 6000, late], [NOW + 6020, { type: "pong" }], [NOW + 6040, { type: "path", at: NOW + 11_030 }], [NOW + 6500, { type: "pong" }]);
  assert.deepEqual([now.link.behind, now.skew], [6000, 5000]);
});

test("what was late is here when nothing more comes, and the hub is quick to answer", () => {
  const now = after(live(), [NOW + 6000, late], [NOW + 8500, { type: "pong" }]);
  assert.equal(now.link.behind, 0);
});

test("a row's way is told where the hub tells it, and a late reading has none from its device", () => {
  const frame = (seq, flags) => ({ type: "data", id: "main.1", phase: "live", sent: NOW + 5012, devices: { "pump-1": { prev: seq - 1, frames: [[seq, NOW + 4990, {}, flags]], hops: [NOW + 5001, NOW + 5008, NOW + 5009] } } });
  let now = state.reduce(live(), frame(5, 0), NOW + 15);
  const { way } = now.news[0];
  assert.deepEqual(way, { ts: NOW + 4990, received: NOW + 5001, committed: NOW + 5008, announced: NOW + 5009, sent: NOW + 5012, took: NOW + 5015, drawn: 0 });
  now = state.drawn(now, [way], NOW + 31);
  assert.equal(now.samples[0].drawn, NOW + 5031);
  assert.equal(state.reduce(now, frame(6, 1), NOW + 20).news[0].way.ts, null);
});

test("a way that is drawn is kept, the newest of them", () => {
  const ways = Array.from({ length: 70 }, (_, index) => ({ ts: index, received: 0, committed: 0, announced: 0, sent: 0, took: 0, drawn: 0 }));
  assert.deepEqual(state.drawn(live(), ways, NOW).samples.map(({ ts }) => ts), Array.from({ length: 50 }, (_, index) => index + 20));
});

test("what came on a socket is counted, taken or not, and from nothing on the next one", () => {
  const data = (id) => ({ type: "data", id, phase: "live", devices: { "pump-1": { prev: 4, frames: [[5, NOW, {}], [6, NOW, {}]] } } });
  let now = [data("main.1"), data("main.1"), data("gone.1"), { type: "lag", id: "main.1", devices: { "pump-1": 7 } }, { type: "gap", id: "main.1", device: "pump-1", from: 1, to: 3, cause: "limit" }]
    .reduce((before, message) => state.reduce(before, message, NOW), live());
  assert.deepEqual(now.socket, { messages: 3, frames: 6, skipped: 7, gone: 3 });
  now = state.reduce(now, { type: "path", at: NOW + 5000, socket: { frames: 6 } }, NOW);
  assert.deepEqual(now.path.took, now.socket);
  assert.equal(state.reduce(now, WELCOME, NOW).socket.messages, 0);
});

test("a replay asks for what was, from its clock on after a cut, and says where it is", () => {
  const replay = { from: NOW, to: NOW + 60_000, speed: 10 };
  let now = state.reduce(state.want(state.initial(), "main", { devices: ["a"], replay }), WELCOME, NOW);
  assert.deepEqual(now.send, [{ type: "sub", id: "main.1", devices: ["a"], replay }]);
  now = state.reduce(now, { type: "ok", id: "main.1", head: { a: 9 } }, NOW);
  assert.deepEqual([now.subs.main.phase, now.subs.main.cursor], ["replay", {}]);
  now = state.reduce(now, { type: "data", id: "main.1", phase: "replay", at: NOW + 5000, devices: {} }, NOW);
  assert.equal(now.subs.main.at, NOW + 5000);
  now = state.reduce(state.opening(state.closed(now, { code: 1006, retryAt: NOW }, NOW)), WELCOME, NOW);
  assert.deepEqual(now.send[0].replay, { ...replay, from: NOW + 5000 });
});

test("a subscription that begins behind a cursor takes nothing before it, also after a cut in the middle", () => {
  let now = state.reduce(state.want(state.initial(), "main", { devices: ["a"], since: { cursor: { a: 7 } } }), WELCOME, NOW);
  now = state.reduce(now, { type: "ok", id: "main.1", head: { a: 9 } }, NOW);
  now = state.reduce(now, { type: "data", id: "main.1", phase: "history", devices: { a: { prev: 7, frames: [[8, 1, {}]] } } }, NOW);
  now = state.reduce(state.opening(state.closed(now, { code: 1006, retryAt: NOW }, NOW)), WELCOME, NOW);
  assert.deepEqual(now.send[0].since, { cursor: { a: 8 } });
});

test("a paused subscription is left alone by a welcome, and goes on behind its cursor", () => {
  let now = state.pause(live(), "main");
  assert.deepEqual(now.send, [{ type: "unsub", id: "main.1" }]);
  now = state.reduce(state.opening(state.closed(now, { code: 1006, retryAt: NOW }, NOW)), WELCOME, NOW);
  assert.deepEqual(now.send, []);
  now = state.resume(now, "main");
  assert.deepEqual(now.send, [{ type: "sub", id: "main.2", devices: ["pump-1"], since: { cursor: { "pump-1": 4 } } }]);
  assert.deepEqual(state.leave(now, "main").send, [{ type: "unsub", id: "main.2" }]);
  assert.deepEqual(state.leave(now, "main").subs, {});
});

test("a fleet that was withdrawn takes its devices away", () => {
  const summary = { name: "A", presence: "online", because: "", since: 1, values: {}, times: {}, ts: 1, seq: 1 };
  let now = state.reduce(state.want(state.initial(), "f", { fleet: "main" }), WELCOME, NOW);
  now = state.reduce(now, { type: "ok", id: "f.1", head: { a: 1 } }, NOW);
  now = state.reduce(now, { type: "fleet", id: "f.1", devices: { a: summary } }, NOW);
  now = state.reduce({ ...now, fleet: { ...now.fleet, b: summary } }, { type: "end", id: "f.1", reason: "permission_revoked" }, NOW);
  assert.deepEqual(Object.keys(now.fleet), ["b"]);
  assert.deepEqual(now.news.map((one) => one.kind), ["fleet", "ended"]);
});
