// The log of a command: what was proved, what is waited for, how far it is.

import assert from "node:assert/strict";
import test from "node:test";
import { isCancellable, line, logOf, outcomeOf, progressOf, stepsOf, timesOf, title, waitOf } from "../../dashboard/static/dashboard/evidence.js";
import { initial, reduce } from "../../clients/javascript/live/state.js";

const NOW = 1_790_000_000_000;

/** @param {string} state @param {number} after @param {object} [more] */
const event = (state, after, more = {}) => ({ state, at: NOW + after, proof: "", message: "", progress: null, ...more });

/** @param {object[]} events @param {object} [more] */
const order = (events, more = {}) => ({ id: "c", device: "p", name: "led", args: true, by: "bob", state: events.at(-1).state, events, expires_at: NOW + 60_000, ...more });

test("what waits says for what, and for how long", () => {
  const queued = order([event("queued", 0)]);
  assert.equal(waitOf(queued, NOW + 12_000), "waits for the device, 48 s left");
  assert.equal(waitOf(order([event("queued", 0), event("sent", 1)]), NOW + 12_000), "waits for its answer, 48 s left");
  assert.equal(waitOf(queued, NOW + 60_000), "its time is over");
  assert.equal(waitOf({ ...queued, expires_at: NOW + 3_600_000 }, NOW), "waits for the device, 60 min left");
  assert.equal(waitOf(order([event("queued", 0), event("succeeded", 9)]), NOW), "");
});

test("only what is queued and in time can be cancelled", () => {
  assert.equal(isCancellable(order([event("queued", 0)]), NOW), true);
  assert.equal(isCancellable(order([event("queued", 0)]), NOW + 60_000), false);
  assert.equal(isCancellable(order([event("queued", 0), event("sent", 1)]), NOW), false);
});

test("an answer that comes after its time is called late, in the line and in the log", () => {
  const late = order([event("queued", 0), event("sent", 10), event("unknown", 60_000), event("succeeded", 90_000)]);
  assert.deepEqual(logOf(late).map(({ word, late: is }) => [word, is]), [["queued", false], ["sent", false], ["unknown", false], ["late: succeeded", true]]);
  assert.match(line(late), /late: succeeded \+2 min/);
});

test("the log names who gave it and who took it back, and nobody else", () => {
  const log = logOf(order([event("queued", 0), event("cancelled", 1000, { by: "alice" })]));
  assert.deepEqual(log.map(({ by }) => by), ["bob", "alice"]);
  assert.deepEqual(logOf(order([event("queued", 0), event("sent", 5, { by: "bob" })])).map(({ by }) => by), ["bob", ""]);
});

test("an update shows its course, and ticks no step that its device did not tell", () => {
  const steps = order([event("queued", 0), event("received", 9, { step: "downloading", progress: 0.5 }), event("received", 99, { step: "verified" })]);
  assert.deepEqual(stepsOf(steps).map(({ is }) => is), ["done", "untold", "now", "untold", "untold"]);
  assert.deepEqual(stepsOf(order([...steps.events, event("succeeded", 999)])).map(({ is }) => is), ["done", "untold", "done", "untold", "untold"]);
  assert.deepEqual(stepsOf(order([event("queued", 0)])), []);
});

test("progress is that of the newest word, and none once it is over", () => {
  const received = order([event("queued", 0), event("received", 9, { progress: 0.25 })]);
  assert.equal(progressOf(received), 0.25);
  assert.equal(progressOf(order([...received.events, event("failed", 99)])), null);
});

test("repeated sends are told, one is not", () => assert.deepEqual([{ sends: 1 }, { sends: 3 }, {}].map(timesOf), ["", "sent 3 times", ""]));

test("who cancels a command is not who gave it, and each step of an update is kept", () => {
  const said = (/** @type {object} */ more) => ({ type: "cmd_state", command: "c", device: "p", name: "update", args: null, proof: "", message: "", progress: null, ...more });
  const state = [
    said({ state: "queued", at: NOW, by: "bob", reason: "why", sends: 0, expires_at: NOW + 1 }),
    said({ state: "received", step: "downloading", at: NOW + 1, by: "bob" }),
    said({ state: "received", step: "downloading", progress: 0.5, at: NOW + 1, by: "bob" }),
    said({ state: "received", step: "installing", at: NOW + 3, by: "bob", sends: 2 }),
    said({ state: "cancelled", at: NOW + 4, by: "alice" }),
  ].reduce((before, message) => reduce(before, message, NOW), initial());
  const { by, events, reason, sends } = state.orders.c;
  assert.deepEqual([by, reason, sends], ["bob", "why", 2]);
  assert.deepEqual(events.map(({ state: word, step, progress }) => [word, step, progress]), [["queued", "", null], ["received", "downloading", 0.5], ["received", "installing", null], ["cancelled", "", null]]);
});

const update = (/** @type {string} */ version, state = "succeeded") => /** @type {any} */ ({ name: "update", args: { firmware: 1, version, size: 1, sha256: "a" }, state, events: [] });

test("an update is called by its version", () => {
  assert.equal(title(update("1.5.0")), "update = 1.5.0");
  assert.equal(title({ name: "colour", args: { version: 1 } }), 'colour = {"version":1}');
});

test("what a device announces is held against the newest update that it answered", () => {
  const [newest, older] = [update("1.5.0"), update("1.4.2")];
  const told = (/** @type {any} */ order, announced = "1.4.2") => outcomeOf(order, [newest, older], announced);
  assert.equal(told(newest), "The device still announces 1.4.2.");
  assert.equal(told(newest, "1.5.0"), "The device announces 1.5.0.");
  assert.equal(told(newest, ""), "The device announces no version.");
  assert.equal(told(older), "");
  assert.equal(outcomeOf(update("2", "failed"), [update("2", "failed")], "1"), "");
});
