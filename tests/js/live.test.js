// The speaker: one socket, credit after rendering, pings, jittered return. With a clock and a socket of the test's own.

import assert from "node:assert/strict";
import test from "node:test";
import { railOf } from "../../dashboard/static/dashboard/rail.js";
import { World } from "./world.js";

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
  assert.deepEqual(world.seqs(), [1, 2, 3]);
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
  world.ring();
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 1 }]);
});

test("a cut comes back by itself, later each time, and resumes behind the cursor", () => {
  const world = new World().start().join();
  world.hear(world.data(1), world.data(2));
  world.paint();
  const waits = [];
  for (let failure = 0; failure < 4; failure += 1) {
    world.socket.onclose({ code: 1006 });
    waits.push(world.hub.state.link.retryAt - world.time);
    world.pass(Math.ceil(waits.at(-1) / 1000));
  }
  assert.deepEqual(waits, [375, 750, 1500, 3000]);
  assert.equal(world.sockets.length, 5);
  world.hear({ type: "welcome", server_ts: world.time, heartbeat_s: 20, credit: 32 });
  assert.deepEqual(world.said("sub")[0].since, { cursor: { a: 2 } });
  world.socket.onclose({ code: 1006 });
  assert.equal(world.hub.state.link.retryAt - world.time, 6000, "a welcome alone forgives nothing");
  world.pass(6);
  world.join();
  world.pass(11);
  world.hear({ type: "pong" });
  world.socket.onclose({ code: 1006 });
  assert.equal(world.hub.state.link.retryAt - world.time, 375, "a while of peace does");
});

test("an unanswered ping makes the page stale, then cuts", () => {
  const world = new World().start().join();
  world.pass(4);
  const socket = world.socket;
  assert.equal(railOf(world.hub.state, world.time).word, "live");
  world.pass(1);
  assert.match(railOf(world.hub.state, world.time).word, /^stale since/);
  world.pass(10);
  assert.ok(socket.closed);
  assert.ok(world.sockets.length > 1);
});

test("a hub that falls silent is asked before a person wonders", () => {
  const world = new World().start().join();
  world.pass(3);
  assert.equal(world.said("ping").length, 2);
});

test("a try that hangs is not waited for when the network comes back", () => {
  const world = new World().start().join();
  world.cut(1006);
  world.pass(1);
  world.hub.wake();
  assert.equal(world.sockets.length, 2, "a young one is");
  world.time += 2000;
  world.hub.wake();
  assert.equal(world.sockets.length, 3);
  assert.ok(world.sockets[1].closed);
});

test("silence with answered pings stays live for as long as it lasts", () => {
  const world = new World().start().join();
  for (let minute = 0; minute < 60; minute += 1) {
    world.pass(1);
    if (world.hub.state.link.pingAt) world.hear({ type: "pong" });
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(railOf(world.hub.state, world.time).word, "live");
});

test("a signed-out user is told so, and the hub is left in peace", () => {
  const world = new World().start().join();
  world.cut(4401);
  world.cut(4401);
  world.pass(120);
  assert.equal(world.sockets.length, 2);
  assert.match(railOf(world.hub.state, world.time).word, /signed out/);
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
    world.hub.wake();
  }
  assert.equal(world.sockets.length, 8);
});

test("a subscription refused for now is asked again", () => {
  const world = new World().start().join();
  world.hear({ type: "err", id: world.wire(), code: "too_many", message: "wait", retry: true });
  assert.equal(world.hub.state.subs.main.phase, "ended");
  for (const timer of world.timers.filter(({ at }) => at === world.time + 3000)) timer.what?.();
  assert.equal(world.hub.state.subs.main.phase, "asked");
});

test("a command travels with a key of its own", () => {
  const world = new World().start().join();
  const id = world.hub.order("a", "led", true);
  const [command] = world.said("cmd");
  assert.equal(command.id, id);
  assert.ok(command.key.length > 8);
});

test("a fleet's summaries are given back as rows are", () => {
  const world = new World().start({ watch: { fleet: "main" } }).join();
  world.hear({ type: "fleet", id: world.wire(), devices: {} }, { type: "fleet", id: world.wire(), devices: {} });
  world.paint();
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 2 }]);
});

test("credit waits for whoever stores what came, and is not given to another socket", async () => {
  const doors = [];
  const draw = (_state, news) => (news.some((one) => one.kind === "rows") ? new Promise((resolve) => doors.push(resolve)) : undefined);
  const world = new World().start({ draw }).join();
  world.hear(world.data(1));
  world.paint();
  assert.deepEqual(world.said("credit"), []);
  doors.shift()();
  await new Promise(setImmediate);
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 1 }]);
  world.hear(world.data(2));
  world.paint();
  world.cut(1006);
  world.pass(1);
  world.join();
  doors.shift()();
  await new Promise(setImmediate);
  assert.deepEqual(world.said("credit"), []);
});

test("whoever stores what comes is called again when that is done, not before, and with all of it", async () => {
  const doors = [];
  const told = [];
  const world = new World().start({ watch: null });
  world.hub.watch({ devices: ["a"] }, {
    rows: (_device, rows) => new Promise((done) => { told.push(...rows.map(([seq]) => seq)); doors.push(done); }),
    live: () => told.push("live"),
  });
  world.welcome();
  world.hear({ type: "ok", id: "w1.1", head: { a: 0 } }, { ...world.data(1), phase: "history" }, { type: "live", id: "w1.1" });
  world.paint();
  world.hear(world.data(2));
  world.paint();
  world.hear(world.data(3));
  assert.deepEqual(told, [1]);
  for (const expected of [[1, "live", 2], [1, "live", 2, 3]]) {
    doors.shift()();
    await new Promise(setImmediate);
    world.paint();
    assert.deepEqual(told, expected);
  }
  doors.shift()();
  await new Promise(setImmediate);
  world.paint();
  assert.equal(world.said("credit").reduce((sum, { n }) => sum + n, 0), 3);
});

test("a fault in one handler keeps nothing from the others", async () => {
  const told = [];
  const world = new World().start({ watch: null, draw: () => told.push("drawn") });
  world.hub.watch({ devices: ["a"] }, { rows: () => { throw new Error("one"); } });
  world.hub.watch({ devices: ["a"] }, { rows: (_device, rows) => told.push(rows[0][0]) });
  world.welcome();
  for (const id of ["w1.1", "w2.1"]) world.hear({ type: "ok", id, head: { a: 0 } }, { ...world.data(1), id });
  assert.throws(() => world.paint(), /one/);
  assert.deepEqual(told, [1, "drawn"]);
});

test("a fault in what draws is loud, and stops nothing", () => {
  let broken = false;
  const world = new World().start({ draw: () => { if (broken) throw new Error("no canvas"); } }).join();
  world.paint();
  broken = true;
  world.hear(world.data(1));
  assert.throws(() => world.paint(), /no canvas/);
  assert.deepEqual(world.said("credit"), [{ type: "credit", n: 1 }]);
});

test("whoever has a token says hello first", () => {
  const world = new World().start({ token: "8c1f" });
  world.socket.onopen();
  assert.deepEqual(world.socket.sent, [{ type: "hello", token: "8c1f" }]);
});

test("a page says a word at once, so that one that is not signed in is told so", () => {
  const world = new World().start();
  world.socket.onopen();
  assert.deepEqual(world.socket.sent, [{ type: "credit", n: 1 }]);
  world.cut(4401);
  assert.equal(railOf(world.hub.state, world.time).word, "signed out");
});

test("a session that ended is tried once more at once, for another page may have signed in", () => {
  const world = new World().start().join();
  world.cut(4401);
  assert.equal(world.sockets.length, 2);
  world.join();
  assert.equal(railOf(world.hub.state, world.time).word, "live");
  world.cut(4401);
  assert.equal(world.sockets.length, 2, "not again and again");
  assert.equal(railOf(world.hub.state, world.time).word, "signed out");
});

test("a session that ends again much later is tried again", () => {
  const world = new World().start().join();
  world.cut(4401);
  world.join();
  for (let minute = 0; minute < 20; minute += 1) {
    world.pass(1);
    if (world.link.pingAt) world.hear({ type: "pong" });
  }
  world.cut(4401);
  assert.equal(world.sockets.length, 3);
});

test("a restart of the hub is no failure: back within two seconds, spread", () => {
  const waits = [0.01, 0.25, 0.99].map((random) => {
    const world = new World().start().join();
    world.random = random;
    world.cut(1012);
    assert.equal(world.hub.failures, 0);
    return world.link.retryAt - world.time;
  });
  assert.deepEqual(waits, [20, 500, 1980]);
});

test("a short wait is not rounded up to the next second", () => {
  const world = new World().start().join();
  world.cut(1006);
  world.time += 375;
  world.ring();
  assert.equal(world.sockets.length, 2);
});

test("a call is answered with what REST would say; one that a cut left open says that nobody knows, and is not repeated", async () => {
  const world = new World().start().join();
  const done = world.hub.call("PATCH", "devices/a/", { name: "A" });
  assert.deepEqual(world.said("call"), [{ type: "call", id: "k1", method: "PATCH", path: "devices/a/", body: { name: "A" } }]);
  world.hear({ type: "answer", id: "k1", status: 403, body: { code: "forbidden" } });
  assert.deepEqual(await done, { status: 403, body: { code: "forbidden" } });
  const open = world.hub.call("POST", "devices/", { key: "b" });
  world.cut(1006);
  await assert.rejects(open, /cut before the answer came: nobody knows whether it was done/);
  world.pass(1);
  world.join();
  assert.deepEqual(world.said("call"), []);
});

test("a call that was not sent waits for the connection, and says so when there is none", async () => {
  const world = new World().start();
  const early = world.hub.call("POST", "devices/", { key: "b" });
  world.join();
  assert.equal(world.said("call").length, 1);
  world.hear({ type: "answer", id: "k1", status: 201, body: {} });
  assert.equal((await early).status, 201);
  world.cut(1006);
  const late = world.hub.call("POST", "devices/", { key: "c" });
  world.pass(32);
  await assert.rejects(late, /not connected to the hub for 30 s: it was not sent/);
});

test("a call that nobody answers is given up", async () => {
  const world = new World().start().join();
  const open = world.hub.call("DELETE", "devices/a/");
  for (let second = 0; second < 32; second += 1) {
    world.pass(1);
    if (world.link.pingAt) world.hear({ type: "pong" });
  }
  await assert.rejects(open, /no answer for 30 s: nobody knows/);
});

test("a command is a promise, too: taken, refused, or never confirmed", async () => {
  const world = new World().start().join();
  const taken = world.hub.command("a", "led", true, { key: "k", ttl_s: 5 });
  assert.deepEqual(world.said("cmd"), [{ type: "cmd", id: "c1", device: "a", name: "led", args: true, key: "k", ttl_s: 5 }]);
  world.hear({ type: "ok", id: "c1", command: "abc", state: "queued", new: true });
  assert.deepEqual(await taken, { command: "abc", state: "queued", new: true });
  const refused = world.hub.command("a", "led", 7);
  world.hear({ type: "err", id: "c2", code: "bad_args", message: "led takes on or off.", retry: false });
  await assert.rejects(refused, { code: "bad_args", message: "led takes on or off." });
  const lost = world.hub.command("a", "led", false);
  world.cut(1006);
  world.pass(40);
  await assert.rejects(lost, /did not confirm/);
});

test("the path is asked for and answered in turn", async () => {
  const world = new World().start().join();
  const asked = [world.hub.path(), world.hub.path()];
  world.hear({ type: "path", at: world.time, socket: { frames: 1 } }, { type: "path", at: world.time, socket: { frames: 2 } });
  assert.deepEqual((await Promise.all(asked)).map(({ socket }) => socket.frames), [1, 2]);
  const cut = world.hub.path();
  world.cut(1006);
  await assert.rejects(cut, /cut/);
  await assert.rejects(world.hub.path(), /not connected/);
});

test("what is watched is told to who watches it, in order", () => {
  const world = new World().start({ watch: null });
  const told = [];
  const note = (kind) => (...what) => { told.push([kind, ...what]); };
  const watch = world.hub.watch({ devices: ["a"], since: { last_s: 60 } }, Object.fromEntries(["rows", "state", "device", "order", "live", "gap", "lag", "ended"].map((kind) => [kind, note(kind)])));
  world.hub.watch({ devices: ["b"] }, { rows: () => assert.fail("not b's"), state: () => assert.fail("not b's") });
  world.welcome();
  const id = "w1.1";
  world.hear(
    { type: "ok", id, head: { a: 1 } },
    { type: "state", device: "a", presence: "online", because: "it sent data", since: 1 },
    { type: "gap", id, device: "a", from: 1, to: 3, cause: "retention" },
    { ...world.data(4), id, phase: "history" },
    { type: "live", id },
    { type: "device", device: "a", name: "A", fleet: "main", enabled: true },
    { type: "lag", id, devices: { a: 7 } },
    { type: "end", id, reason: "permission_revoked" },
  );
  world.paint();
  assert.deepEqual(told.map(([kind]) => kind), ["state", "gap", "rows", "live", "device", "lag", "ended"]);
  assert.deepEqual(told[2], ["rows", "a", [[4, world.time, { t: 4 }]], "history"]);
  assert.deepEqual(told[6], ["ended", "permission_revoked", ""]);
  watch.close();
  assert.equal(watch.sub, undefined);
});

test("a fleet's devices are told as they are, and as gone", () => {
  const world = new World().start({ watch: null });
  const told = [];
  world.hub.watch({ fleet: "main" }, { fleet: (devices) => told.push(devices) });
  world.welcome();
  world.hear({ type: "ok", id: "w1.1", head: { a: 1 } }, { type: "fleet", id: "w1.1", devices: { a: { name: "A", seq: 1, values: {} } } });
  world.paint();
  world.hear({ type: "fleet", id: "w1.1", devices: { a: null } });
  world.paint();
  assert.deepEqual(told, [{ a: { name: "A", seq: 1, values: {} } }, { a: null }]);
});

test("a closed hub says nothing any more", () => {
  const world = new World().start().join();
  world.hub.close();
  assert.ok(world.socket.closed);
  world.pass(120);
  world.hub.wake();
  assert.equal(world.sockets.length, 1);
});

test("a page that wakes after a long sleep says that it does not know yet, in that instant", () => {
  const world = new World().start().join();
  world.paint();
  world.isHidden = true;
  world.time += 600_000;
  world.isHidden = false;
  let seen = "";
  world.hub.draw = (state) => { seen = railOf(state, world.time).word; };
  world.hub.wake();
  assert.equal(seen, "checking");
  assert.equal(world.said("ping").length, 2);
  world.hear({ type: "pong" });
  world.paint();
  assert.equal(seen, "live");
});
