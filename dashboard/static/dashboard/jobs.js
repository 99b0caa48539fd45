// Shows jobs as they go: a row for each, the newest first.

import { drawBar } from "./bar.js";
import { connected } from "./corner.js";
import { title } from "./evidence.js";
import { instant } from "./format.js";
import { begin, byId, given, write } from "./page.js";
import { stateOf, whom, words } from "./tally.js";

const page = given();
const list = byId("jobs");
/** @type {Map<string, any>} */
const jobs = new Map(page.jobs.map((/** @type {any} */ job) => [job.id, job]));
const asking = new Set();

/** @param {string} id @returns {HTMLElement} */
function rowOf(id) {
  const found = [...list.children].find((row) => row.getAttribute("data-id") === id);
  if (found) return /** @type {HTMLElement} */ (found);
  const template = /** @type {HTMLTemplateElement} */ (byId("row"));
  const row = /** @type {HTMLElement} */ (/** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild);
  row.dataset.id = id;
  list.prepend(row);
  byId("jobs-panel").hidden = false;
  byId("no-jobs").hidden = true;
  return row;
}

/** @param {any} job */
function show(job) {
  const row = rowOf(job.id);
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(`[data-part="${name}"]`));
  row.dataset.state = job.state;
  part("title").setAttribute("href", `/jobs/${encodeURIComponent(job.id)}/`);
  write(part("title"), title(job));
  write(part("whom"), `for ${whom(job.selection)}${page.fleets.length > 1 ? ` of ${job.fleet}` : ""}`);
  write(part("state"), stateOf(job));
  write(part("words"), words(job.counts, job.total));
  write(part("by"), job.by ?? "the hub");
  write(part("at"), instant(job.created_at, Date.now()));
  write(part("because"), job.because);
  part("because").hidden = !job.because;
  drawBar(part("bar"), job.counts);
}

/** One that is new here: ask what it is. @param {string} id */
async function learn(id) {
  if (asking.has(id)) return;
  asking.add(id);
  const answer = await fetch(`/api/v1/jobs/${encodeURIComponent(id)}/`, { headers: { Accept: "application/json" } }).catch(() => null);
  asking.delete(id);
  if (!answer?.ok) return;
  const job = await answer.json();
  jobs.set(id, job);
  show(job);
}

begin();
for (const job of [...page.jobs].reverse()) show(job);
const hub = connected((state, news) => {
  for (const one of news) {
    if (one.kind !== "job") continue;
    const known = jobs.get(one.job);
    if (known) show(Object.assign(known, state.jobs[one.job]));
    else learn(one.job);
  }
});
page.fleets.forEach((/** @type {string} */ fleet) => hub.watch({ fleet }));
