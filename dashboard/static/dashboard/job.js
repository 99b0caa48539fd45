// Shows one job: how far it is, live, and what became of each device, a page at a time.

import { drawBar, drawLegend } from "./bar.js";
import { connected } from "./corner.js";
import { title } from "./evidence.js";
import { begin, byId, given, notice, write } from "./page.js";
import { Results } from "./results.js";
import { manner, paceOf, rateOf, settledOf, stageOf, stateOf, whom, words } from "./tally.js";

const page = given();
const job = page.job;
const results = new Results(job.id);
/** @type {[number, number][]} */
const seen = [];

/** @param {number} now */
function show(now) {
  const settled = settledOf(job.counts);
  if (!seen.length || seen[seen.length - 1][1] !== settled) seen.push([now, settled]);
  if (seen.length > 200) seen.shift();
  write(byId("title"), title(job));
  write(byId("state"), stateOf(job));
  byId("state").dataset.state = job.state;
  write(byId("words"), words(job.counts, job.total));
  const pace = job.state === "running" ? paceOf(rateOf(seen)) : "";
  write(byId("pace"), [stageOf(job), pace].filter(Boolean).map((part) => `· ${part}`).join(" "));
  write(byId("because"), job.because);
  byId("because").hidden = !job.because;
  drawBar(byId("tally"), job.counts);
  drawLegend(byId("legend"), job.counts);
  write(byId("whom"), whom(job.selection));
  write(byId("manner"), manner(job));
  results.counted(job.counts);
}

const MAY = /** @type {Record<string, string[]>} */ ({ stop: ["running"], resume: ["stopped"], cancel: ["running", "stopped"] });

/** @param {boolean} live */
function acts(live) {
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("#acts button"))) {
    button.hidden = !MAY[button.dataset.act ?? ""].includes(job.state);
    button.disabled = !live || button.dataset.asked === "yes";
  }
}

/** @param {HTMLButtonElement} button */
async function act(button) {
  button.dataset.asked = "yes";
  acts(true);
  try {
    const { status, body } = await hub.call("POST", `jobs/${job.id}/${button.dataset.act}/`);
    if (status < 300) Object.assign(job, body);
    notice(status < 300 ? "" : (body?.message ?? `The hub refused it (${status}).`));
  } catch (error) {
    notice(error instanceof Error ? error.message : String(error));
  }
  button.dataset.asked = "";
  show(Date.now());
  acts(true);
}

begin();
const hub = connected((state, news) => {
  if (news.some((one) => one.kind === "job" && one.job === job.id)) Object.assign(job, state.jobs[job.id]);
  show(Date.now());
  acts(state.link.phase === "up");
});
for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("#acts button"))) button.addEventListener("click", () => act(button));
hub.watch({ fleet: job.fleet });
show(Date.now());
results.show();
