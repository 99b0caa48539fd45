// Shows when jobs are made by themselves, in words and in two times; switches schedules on and off.

import { cronWords } from "./campaign.js";
import { connected } from "./corner.js";
import { title } from "./evidence.js";
import { stamp } from "./format.js";
import { begin, byId, given, write } from "./page.js";
import { manner, whom, words } from "./tally.js";

const page = given();

/** An instant in another zone than the browser's; null: they are the same, or it knows no such zone. @param {number} at @param {string} zone */
function there(at, zone) {
  if (zone === Intl.DateTimeFormat().resolvedOptions().timeZone) return null;
  try {
    return new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short", timeZone: zone }).format(at);
  } catch {
    return null;
  }
}

/** @param {HTMLElement} row @param {any} one */
function show(row, one) {
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(`[data-part="${name}"]`));
  row.dataset.enabled = one.enabled ? "yes" : "no";
  const how = manner(one);
  write(part("what"), `${title(one)} for ${whom(one.selection)}${how === "all at once" ? "" : `; ${how}`}`);
  write(part("when"), one.cron ? cronWords(one.cron) : "once");
  const zoned = one.next_at ? there(one.next_at, one.zone) : null;
  const next = one.next_at ? `next ${stamp(one.next_at).slice(0, -3)} your time${zoned ? `, ${zoned} in ${one.zone}` : ""}` : "never again";
  write(part("next"), one.enabled ? next : "disabled: nothing happens until it is enabled");
  for (const link of row.querySelectorAll("[data-run]")) {
    const { job } = one.runs[Number(link.getAttribute("data-run"))];
    write(link, `${job.state}: ${words(job.counts, job.total)}`);
  }
  const button = row.querySelector("[data-act=enable]");
  if (button) write(button, one.enabled ? "Disable" : "Enable");
}

/** @param {HTMLElement} row @param {any} one @param {"PATCH" | "DELETE"} method @param {object} [body] */
async function change(row, one, method, body) {
  const answer = await hub.call(method, `schedules/${one.id}/`, body).catch((error) => ({ status: 0, body: { message: String(error.message) } }));
  const fault = /** @type {HTMLElement} */ (row.querySelector('[data-part="fault"]'));
  fault.hidden = answer.status >= 200 && answer.status < 300;
  if (!fault.hidden) write(fault, answer.body?.message ?? `The hub refused it (${answer.status}).`);
  else if (method === "DELETE") row.remove();
  else {
    Object.assign(one, { enabled: answer.body.enabled, next_at: answer.body.next_at });
    show(row, one);
  }
}

begin();
const hub = connected((state) => {
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-act]"))) button.disabled = state.link.phase !== "up";
});
for (const one of page.schedules) {
  const row = [...byId("schedules").children].find((each) => each.getAttribute("data-id") === String(one.id));
  if (!(row instanceof HTMLElement)) continue;
  show(row, one);
  row.querySelector("[data-act=enable]")?.addEventListener("click", () => change(row, one, "PATCH", { enabled: !one.enabled }));
  row.querySelector("[data-act=delete]")?.addEventListener("click", () => {
    if (window.confirm("The schedule is deleted; the jobs that it made stay. Delete it?")) change(row, one, "DELETE");
  });
}
