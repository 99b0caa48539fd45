// Jobs in words and numbers: where their devices stand, how fast it goes, what a form asks, and what a line of cron says.

import assert from "node:assert/strict";
import test from "node:test";
import { asked, cronWords, grouped, missing, previewed, sharesOf } from "../../dashboard/static/dashboard/campaign.js";
import { manner, paceOf, partsOf, rateOf, stageOf, stateOf, whom, words } from "../../dashboard/static/dashboard/tally.js";
import { initial, reduce } from "../../clients/javascript/live/state.js";

const COUNTS = { succeeded: 300, failed: 5, rejected: 2, unknown: 1, timed_out: 1, expired: 1, refused: 2, cancelled: 1, sent: 10, queued: 5, waiting: 9672 };

test("a job is told by how many are settled, and how many of them without success", () => {
  assert.equal(words(COUNTS, 10_000), "313 of 10,000 settled · 10 did not succeed");
  assert.equal(words({ succeeded: 2 }, 2), "2 of 2 settled");
});

test("the bar has a part with a word for each kind that there is, and all devices are in it", () => {
  const parts = partsOf(COUNTS);
  assert.deepEqual(parts.map(({ kind, count }) => [kind, count]), [["done", 300], ["failed", 7], ["unsure", 2], ["over", 1], ["none", 3], ["open", 15], ["waiting", 9672]]);
  assert.ok(parts.every(({ word }) => word));
  assert.deepEqual(partsOf({}), []);
});

test("a job that has given all its commands waits for answers", () => {
  const job = { state: "running", issued: 2, total: 2, counts: { sent: 1, succeeded: 1 } };
  assert.equal(stateOf(job), "waiting for answers");
  assert.equal(stateOf({ ...job, issued: 1 }), "running");
  assert.equal(stateOf({ ...job, state: "stopped" }), "stopped");
});

for (const [issued, text] of [[0, "stage 1 of 3, up to 5 %"], [5, "stage 1 of 3, up to 5 %"], [6, "stage 2 of 3, up to 50 %"], [100, "stage 3 of 3, up to 100 %"]]) {
  test(`with ${issued} of 100 given it is ${text}`, () => assert.equal(stageOf({ stages: [5, 50, 100], issued, total: 100, state: "running" }), text));
}

test("a job without stages, or done, has no stage", () => {
  assert.equal(stageOf({ stages: [], issued: 1, total: 9, state: "running" }), "");
  assert.equal(stageOf({ stages: [5, 100], issued: 9, total: 9, state: "done" }), "");
});

test("its pace is that of the last seconds", () => {
  assert.equal(rateOf([[0, 0]]), null);
  assert.equal(rateOf([[0, 0], [50_000, 5000], [60_000, 5100]]), 10);
  assert.deepEqual([12, 0.5, 0, null].map(paceOf), ["12 a second", "30 a minute", "", ""]);
});

test("for whom and how is said in words", () => {
  assert.equal(whom({}), "all devices");
  assert.equal(whom({ devices: ["a"] }), "a");
  assert.equal(whom({ devices: ["a", "b"], tag: "roof", presence: "online" }), "2 chosen devices tagged roof that were online");
  assert.equal(manner({ rate: 5, stages: [5, 100], limit: 0 }), "at most 5 a second; in stages: 5 %, 100 %; stops when more than 0 % failed");
  assert.equal(manner({ rate: null, stages: [], limit: null }), "all at once");
});

const FILLED = { devices: [], tag: "", presence: "", name: "relay", args: true, lacks: false, ttl: "60", reason: " why ", rate: "", stages: "", limit: "", when: "now", at: "", cron: "", zone: "", label: "" };

test("a form asks for a job with what was written, and for a schedule when it is for later", () => {
  assert.deepEqual(asked("main", { ...FILLED, tag: "roof", stages: "5, 50 → 100 %", rate: "5" }), {
    path: "jobs/",
    body: { fleet: "main", name: "relay", args: true, ttl_s: 60, reason: "why", selection: { tag: "roof" }, rate: 5, stages: [5, 50, 100], limit: null },
  });
  const { path, body } = asked("main", { ...FILLED, when: "cron", cron: " 0 6 * * * ", zone: "Europe/Berlin", label: "Lights" });
  assert.deepEqual([path, body.cron, body.zone, body.title], ["schedules/", "0 6 * * *", "Europe/Berlin", "Lights"]);
  assert.equal(asked("main", { ...FILLED, when: "once", at: "2026-01-01T00:00:00Z" }).body.at, Date.UTC(2026, 0, 1));
});

test("a form says what it lacks, and leaves what is wrong to the hub", () => {
  assert.equal(missing({ ...FILLED, name: "" }), "Choose a command.");
  assert.equal(missing({ ...FILLED, lacks: true }), "Choose its argument.");
  assert.equal(missing({ ...FILLED, when: "once" }), "Say when.");
  assert.match(missing({ ...FILLED, when: "cron" }), /^Say when/);
  assert.equal(missing(FILLED), "");
  assert.ok(Number.isNaN(sharesOf("5, many")[1]));
});

test("a preview says how many take it, and groups those that do not by why", () => {
  assert.equal(previewed({ devices: 45, refused: 3 }), "Will be given to 42 devices; 3 cannot take it:");
  assert.equal(previewed({ devices: 1, refused: 0 }), "Will be given to 1 device.");
  assert.equal(previewed({ devices: 2, refused: 2 }), "None of the 2 devices can take it:");
  assert.equal(previewed({ devices: 0, refused: 0 }), "No device is selected.");
  const examples = [{ device: "a", refused: "x" }, { device: "b", refused: "y" }, { device: "c", refused: "x" }];
  assert.deepEqual(grouped({ refused: 5, examples }), ["a, c: x", "b: y", "and 2 more devices"]);
});

for (const [line, text] of [
  ["0 6 * * 1-5", "at 06:00 on Monday to Friday"], ["30 18 * * *", "at 18:30"], ["*/15 * * * *", "every 15 minutes"], ["0 * * * *", "every hour"],
  ["5 0 1 * *", "at 00:05 on day 1 of the month"], ["0 6 * * 0", "at 06:00 on Sundays"], ["*/7 3 1 * *", ""], ["0 6 * 2 *", ""], ["nonsense", ""],
]) {
  test(`cron ${line} is ${text || "left as it is"}`, () => assert.equal(cronWords(line), text));
}

test("a fleet's subscription tells where its jobs stand", () => {
  const job = { fleet: "main", name: "relay", state: "running", because: "", total: 2, issued: 1, counts: { sent: 1, waiting: 1 }, at: 1 };
  const state = reduce(initial(), { type: "job", job: "j1", ...job }, 1);
  assert.deepEqual(state.jobs, { j1: job });
  assert.deepEqual(state.news, [{ kind: "job", job: "j1" }]);
});
