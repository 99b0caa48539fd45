// The speaker: one socket, credit after rendering, pings, jittered return. With a clock and a socket of the test's own.

import assert from "node:assert/strict";
import test from "node:test";
import { Live } from "../../dashboard/static/dashboard/live.js";
import { railOf } from "../../dashboard/static/dashboard/rail.js";

class World {
  constructor() {
    this.time = 1_735_689_600_000;
    this.sockets = [];
    this.frames = [];
    this.timers = [];
    this.isHidden = false;
    this.rendered = [];
  }

  start() {
    this.live = new Live(
      {
        open: () => this.opened(),
        now: () => this.time,
        random: () => 0.5,
        later: (what, ms) => this.timers.push({ what, at: this.time + ms }) - 1,
        cancel: (timer) => { this.timers[timer].what = null; },
        frame: (what) => this.frames.push(what),
        hidden: () => this.isHidden,
      },
      (state, taken, touched) => this.rendered.push({ state, taken, touched }),
    );
    this.live.subscribe("main", { devices: ["a"], since: null });
    this.live.start();
    return this;
  }

  opened() {
    const socket = { sent: [], closed: false, send: (text) => socket.sent.push(JSON.parse(text)), close: () => { socket.closed = true; } };
    this.sockets.push(socket);
    return socket;
  }

  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  hear(...messages) {
    for (const message of messages) this.socket.onmessage({ data: JSON.stringify(message) });
  }

  paint() {
    for (const what of this.frames.splice(0)) what();
  }

  /** Let seconds pass, one tick at a time, painting. */
  pass(seconds) {
    for (let second = 0; second < seconds; second += 1) {
      this.time += 1000;
      this.live.tick();
      this.paint();
    }
  }

  join() {
    this.hear({ type: "welcome", server_ts: this.time, heartbeat_s: 20, credit: 32 });
    this.hear({ type: "pong" }, { type: "ok", id: this.wire(), head: { a: 0 } }, { type: "live", id: this.wire() });
    return this;
  }

  wire() {
    return this.socket.sent.findLast((message) => message.type === "sub").id;
  }

  data(seq) {
    return { type: "data", id: this.wire(), phase: "live", devices: { a: { prev: seq - 1, frames: [[seq, this.time, { t: seq }]] } } };
  }

  said(type) {
    return this.socket.sent.filter((message) => message.type === type);
  }
}

test("nothing is said before the welcome, then subscription and ping", () => {
  const world = new World().start();
  assert.deepEqual(world.socket.sent, []);
  world.join();
  assert.deepEqual(world.socket.sent.map((message) => message.type), ["sub", "ping"]);
});

test("credit comes back after rendering, in one message", () => {
  const world = new World().start().join();
  world.hear(world.data(1), world.data(2), world.data(3));
  assert.deepEqual(world.said("credit"), []);
  world.paint();
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 3 }]);
  assert.deepEqual(world.rendered.at(-1).taken.flatMap((one) => one.rows.map(([seq]) => seq)), [1, 2, 3]);
});

test("a hidden page, which is never painted, gives credit at once", () => {
  const world = new World().start().join();
  world.paint();
  world.isHidden = true;
  world.hear(world.data(1), world.data(2));
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 1 }, { type: "credit", n: 1 }]);
});

test("a page whose window is covered renders without a frame after a moment", () => {
  const world = new World().start().join();
  world.paint();
  world.hear(world.data(1));
  world.time += 250;
  for (const timer of world.timers) if (timer.at <= world.time) timer.what?.();
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 1 }]);
});

test("a cut comes back by itself, later each time, and resumes behind the cursor", () => {
  const world = new World().start().join();
  world.hear(world.data(1), world.data(2));
  world.paint();
  const waits = [];
  for (let failure = 0; failure < 4; failure += 1) {
    world.socket.onclose({ code: 1006 });
    waits.push(world.live.state.link.retryAt - world.time);
    world.pass(Math.ceil(waits.at(-1) / 1000));
  }
  assert.deepEqual(waits, [375, 750, 1500, 3000]);
  assert.equal(world.sockets.length, 5);
  world.hear({ type: "welcome", server_ts: world.time, heartbeat_s: 20, credit: 32 });
  assert.deepEqual(world.said("sub")[0].since, { cursor: { a: 2 } });
  world.socket.onclose({ code: 1006 });
  assert.equal(world.live.state.link.retryAt - world.time, 6000, "a welcome alone forgives nothing");
  world.pass(6);
  world.join();
  world.pass(11);
  world.hear({ type: "pong" });
  world.socket.onclose({ code: 1006 });
  assert.equal(world.live.state.link.retryAt - world.time, 375, "a while of peace does");
});

test("an unanswered ping makes the page stale, then cuts", () => {
  const world = new World().start().join();
  world.pass(6);
  const socket = world.socket;
  assert.equal(railOf(world.live.state, world.time).word, "live");
  world.pass(4);
  assert.match(railOf(world.live.state, world.time).word, /^stale since/);
  world.pass(6);
  assert.ok(socket.closed);
  assert.ok(world.sockets.length > 1);
});

test("silence with answered pings stays live for as long as it lasts", () => {
  const world = new World().start().join();
  for (let minute = 0; minute < 60; minute += 1) {
    world.pass(1);
    if (world.live.state.link.pingAt) world.hear({ type: "pong" });
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(railOf(world.live.state, world.time).word, "live");
});

test("a signed-out user is told so, and the hub is left in peace", () => {
  const world = new World().start().join();
  world.socket.onclose({ code: 4401 });
  world.pass(120);
  assert.equal(world.sockets.length, 1);
  assert.match(railOf(world.live.state, world.time).word, /signed out/);
});

test("a socket that never says welcome is given up", () => {
  const world = new World().start();
  world.pass(12);
  assert.ok(world.sockets[0].closed);
  assert.ok(world.sockets.length > 1);
});

test("the page that comes back to sight looks at once", () => {
  const world = new World().start().join();
  for (let failure = 0; failure < 7; failure += 1) {
    world.socket.onclose({ code: 1006 });
    world.live.wake();
  }
  assert.equal(world.sockets.length, 8);
});

test("a subscription refused for now is asked again", () => {
  const world = new World().start().join();
  world.hear({ type: "err", id: world.wire(), code: "too_many", message: "wait", retry: true });
  assert.equal(world.live.state.subs.main.phase, "ended");
  for (const timer of world.timers.filter(({ at }) => at === world.time + 3000)) timer.what?.();
  assert.equal(world.live.state.subs.main.phase, "asked");
});

test("a command travels with a key of its own", () => {
  const world = new World().start().join();
  const id = world.live.order("a", "led", true);
  const [command] = world.said("cmd");
  assert.equal(command.id, id);
  assert.ok(command.key.length > 8);
});
