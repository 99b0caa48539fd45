// Each golden conversation leads to what it says, and asks for exactly what it says (tests/golden/README.md).

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";
import { railOf } from "../../dashboard/static/dashboard/rail.js";
import { World } from "./world.js";

const folder = new URL("../golden/", import.meta.url);

/** What each step does to the world; `client` is looked at in `play`. */
const STEPS = {
  watch: (world, request) => world.hub.subscribe("main", request),
  pause: (world) => world.hub.pause("main"),
  resume: (world) => world.hub.resume("main"),
  order: (world, { device, name, args, key }) => world.hub.order(device, name, args, { key }),
  hub: (world, message) => world.hear(message),
  rendered: (world) => world.paint(),
  cut: (world, code) => comeBack(world, code).welcome(),
  refuse: (world, code) => {
    for (let tries = 0; world.link.phase !== "refused" && tries < 3; tries += 1) comeBack(world, code);
  },
};

/** The socket ends; time passes until the next one. @returns {World} */
function comeBack(world, code) {
  const tried = world.sockets.length;
  world.cut(code);
  for (let second = 0; world.sockets.length === tried && world.link.phase !== "refused" && second < 10; second += 1) {
    world.time += 1000;
    world.hub.tick();
  }
  return world;
}

/** Let a step happen, and collect how a call ends. */
async function happen(world, step, answers) {
  if (!step.call) {
    for (const [kind, value] of Object.entries(step)) STEPS[kind]?.(world, value);
    return;
  }
  const { id, method, path, body } = step.call;
  world.hub.call(method, path, body).then(
    (answer) => { answers[id] = answer; },
    (error) => { answers[id] = error.code === "cut" ? "cut" : "refused"; },
  );
}

async function play({ steps }) {
  const world = new World().start({ watch: null }).welcome();
  const answers = {};
  const heard = () => world.sockets.flatMap((socket) => socket.sent).filter(({ type }) => type !== "ping");
  let looked = 0;
  for (const step of steps) {
    if (step.client) assert.deepEqual(heard()[looked++], step.client);
    else {
      assert.equal(heard().length, looked, `before ${JSON.stringify(step)} nothing more was said`);
      await happen(world, step, answers);
    }
  }
  assert.equal(heard().length, looked, "nothing more was asked");
  const credit = world.said("credit").length;
  world.paint();
  assert.ok(world.said("credit").length <= credit + 1);
  return { world, answers };
}

for (const name of readdirSync(folder).filter((one) => one.endsWith(".json"))) {
  const golden = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
  test(`${name}: ${golden.about}`, async () => {
    const { world, answers } = await play(golden);
    const { state } = world.hub;
    const { main } = state.subs;
    const { expect } = golden;
    const taken = {};
    for (const one of world.news) if (one.kind === "rows") (taken[one.device] ??= []).push(...one.rows.map(([seq]) => seq));
    assert.deepEqual(taken, expect.taken);
    assert.deepEqual(state.counts, expect.counts);
    if (expect.phase) assert.equal(main.phase, expect.phase);
    if (expect.ended) assert.equal(main.reason, expect.ended);
    if (expect.at) assert.equal(main.at, expect.at);
    if (expect.cursor) assert.deepEqual(main.cursor, expect.cursor);
    const kept = (device) => Object.fromEntries(Object.values(state.settings[device].rows).map((row) => [row.name, row.state]));
    if (expect.settings) assert.deepEqual(Object.fromEntries(Object.keys(state.settings).map((device) => [device, kept(device)])), expect.settings);
    if (expect.about) assert.deepEqual(state.about, expect.about);
    assert.equal(state.link.phase, expect.link ?? "up");
    assert.equal(railOf(state, world.time).word, expect.rail);
    const values = (look) => Object.fromEntries(Object.entries(state.fleet).map(([key, summary]) => [key, look(summary)]));
    assert.deepEqual(values((summary) => summary.values), expect.fleet ?? {});
    if (expect.names) assert.deepEqual(values((summary) => summary.name), expect.names);
    const states = Object.fromEntries(Object.values(state.orders).map(({ id, events }) => [id, events.map((event) => event.state)]));
    assert.deepEqual(states, expect.orders ?? {});
    assert.deepEqual(answers, expect.answers ?? {});
  });
}
