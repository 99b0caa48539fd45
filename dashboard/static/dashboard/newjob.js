// The form of a job: shows what it would do while it is filled in, and asks before it does something dangerous.

import { confirmed } from "./asking.js";
import { asked, cronWords, grouped, missing, previewed, sharesOf } from "./campaign.js";
import { control } from "./controls.js";
import { connected } from "./corner.js";
import { title } from "./evidence.js";
import { begin, byId, element, given, write } from "./page.js";
import { figure, manner, plural, whom } from "./tally.js";

const PAUSE_MS = 400;
const DAY_S = 86_400;
const OTHER = "\u0000other";
const page = given();
const form = /** @type {HTMLFormElement} */ (byId("job-form"));
const start = /** @type {HTMLButtonElement} */ (byId("start"));
// The same job however often the button reaches the hub.
const key = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 14)}`;
/** @type {string[]} */
let devices = page.devices;
/** @type {unknown} */
let args = null;
/** @type {any} */
let preview = null;
/** @type {{id: number, version: string, model: string}[]} */
let files = [];
let asking = 0;
let sending = false;

/** @param {string} id */
const field = (id) => /** @type {HTMLInputElement} */ (byId(id));

/** @returns {import("./campaign.js").Filled} */
function filled() {
  const chosen = field("command").value;
  const when = /** @type {HTMLInputElement} */ (form.querySelector("[name=when]:checked")).value;
  const [tag, presence, ttl, reason, rate, stages, limit] = ["tag", "presence", "ttl", "reason", "rate", "stages", "limit"].map((id) => field(id).value);
  const [at, cron, zone, label] = ["at", "cron", "zone", "label"].map((id) => field(id).value);
  const lacks = !byId("argument").hidden && chosen !== OTHER && (args === null || args === "");
  const [name, said] = chosen === OTHER ? [field("named").value.trim(), args || null] : [chosen, args];
  return { devices, tag, presence, name, args: said, lacks, ttl, reason, rate, stages, limit, when, at, cron, zone, label };
}

/** What the chosen command is, as most devices announced it. */
const about = () => page.commands.find((/** @type {{name: string}} */ one) => one.name === field("command").value);

function commands() {
  const options = page.commands.map((/** @type {any} */ one) => element("option", { value: one.name, text: `${one.name}${one.dangerous ? " (dangerous)" : ""} · ${plural(one.devices, "device")}` }));
  const none = element("option", { value: "", text: options.length ? "choose …" : "these devices announced none" });
  field("command").replaceChildren(none, ...options, element("option", { value: OTHER, text: "another …" }));
  if (page.told.name) field("command").value = page.commands.some((/** @type {any} */ one) => one.name === page.told.name) ? page.told.name : OTHER;
  if (field("command").value === OTHER) field("named").value = page.told.name;
}

/** The control for the argument of what is chosen. */
function argument() {
  const name = field("command").value;
  const one = about();
  args = null;
  byId("free-name").hidden = name !== OTHER;
  const spec = one?.spec ?? { type: "text" };
  byId("argument").hidden = !name || spec.type === "action";
  if (byId("argument").hidden) return;
  if (spec.type === "update") field("ttl").value = String(DAY_S); // it is fetched, perhaps by one that sleeps
  const made = spec.type === "update" ? firmware() : control(one?.name ?? "argument", spec, take);
  byId("control").replaceChildren(...made.parts);
  // Here nothing is sent by a control of its own: what is written counts as it is written.
  for (const button of byId("control").querySelectorAll(":scope form button")) button.remove();
  for (const own of byId("control").querySelectorAll(":scope form")) own.replaceWith(...own.childNodes);
  written = ["number", "text"].includes(spec.type) ? spec.type : "";
  shown = made.show;
  const told = page.told.args;
  if (told && page.told.name === name) take(parsed(told));
}

/** @type {(value: unknown) => void} */
let shown = () => undefined;

/** @param {unknown} value */
function take(value) {
  args = value;
  shown(value);
  changed();
}

/** The kind of argument that is written, and not chosen; "": none. */
let written = "";

/** @param {HTMLInputElement} input */
const valueOf = ({ value }) => (written === "number" ? (value === "" ? null : Number(value)) : value);

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The files that devices of this fleet may install. */
function firmware() {
  const select = /** @type {HTMLSelectElement} */ (element("select", { class: "form-select", "aria-labelledby": "argument-label" }));
  const fill = () => select.replaceChildren(element("option", { value: "", text: files.length ? "choose a version …" : "no firmware is uploaded for this fleet" }), ...files.map(({ id, version, model }) => element("option", { value: String(id), text: `${version}${model ? ` for ${model}` : ""}` })));
  select.addEventListener("change", () => take(select.value ? { firmware: Number(select.value) } : null));
  fill();
  fetch(`/api/v1/firmware/?fleet=${encodeURIComponent(page.fleet)}`, { headers: { Accept: "application/json" } })
    .then((answer) => (answer.ok ? answer.json() : { results: [] }))
    .then((answer) => {
      files = answer.results ?? answer;
      fill();
      if (page.told.firmware) take({ firmware: Number(page.told.firmware) });
    })
    .catch(() => undefined);
  return { parts: [select], show: (/** @type {any} */ value) => {
    select.value = value?.firmware ? String(value.firmware) : "";
  } };
}

function choice() {
  byId("chosen").hidden = !devices.length;
  write(byId("chosen-words"), whom({ devices }));
  const keys = devices.map((one) => {
    const button = element("button", { type: "button", class: "chip", title: `Take ${one} out`, text: `${one} ✕` });
    button.addEventListener("click", () => {
      devices = devices.filter((other) => other !== one);
      choice();
      changed();
    });
    return element("li", {}, button);
  });
  byId("chosen-keys").replaceChildren(...keys);
}

/** Something was written: say what it comes to, and ask the hub what it would do. */
function changed() {
  const now = filled();
  write(byId("how-words"), manner({ rate: Number(now.rate) || null, stages: sharesOf(now.stages), limit: now.limit === "" ? null : Number(now.limit) }));
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-when]"))) part.hidden = !(part.dataset.when ?? "").split(" ").includes(now.when);
  write(byId("cron-words"), cronWords(now.cron) || "Minute, hour, day, month, day of the week.");
  byId("fault").hidden = true;
  preview = null;
  ready();
  const turn = (asking += 1);
  setTimeout(() => turn === asking && look(turn), PAUSE_MS);
}

/** @param {number} turn */
async function look(turn) {
  const now = filled();
  const lacks = missing({ ...now, when: "now" });
  if (lacks) {
    tell(lacks, []);
    return;
  }
  const answer = await hub.call("POST", "jobs/preview/", { ...asked(page.fleet, { ...now, when: "now" }).body }).catch((error) => ({ status: 0, body: { message: String(error.message) } }));
  if (turn !== asking) return;
  preview = answer.status === 200 ? answer.body : null;
  if (preview) tell(previewed(preview), grouped(preview));
  else tell(answer.body?.message ?? `The hub refused it (${answer.status}).`, []);
  ready();
}

/** @param {string} text @param {string[]} refused */
function tell(text, refused) {
  write(byId("preview-words"), text);
  byId("preview-refused").replaceChildren(...refused.map((each) => element("li", { text: each })));
}

function ready() {
  const now = filled();
  const takes = preview ? preview.devices - preview.refused : 0;
  start.disabled = sending || !takes || Boolean(missing(now)) || hub.state.link.phase !== "up";
  write(start, now.when !== "now" ? "Make the schedule" : takes ? `Start for ${plural(takes, "device")}` : "Start");
}

async function send() {
  const now = filled();
  const { path, body } = asked(page.fleet, now);
  const many = figure(preview.devices - preview.refused);
  if (preview.dangerous) {
    const texts = [`${preview.dangerous === 1 ? "One device calls" : `${figure(preview.dangerous)} devices call`} this command dangerous.`, `It is for ${whom(/** @type {any} */ (body.selection))} of the fleet: ${many} now. ${now.when === "now" ? "What a device has been told cannot be taken back." : "It will be given by itself, when its time comes."}`];
    const reason = await confirmed({ title: `${title({ name: now.name, args: now.args })} for ${many}?`, texts, act: now.when === "now" ? `Start for ${many}` : "Make the schedule" }, now.reason);
    if (reason === null) return;
    Object.assign(body, { reason, confirm: true });
  }
  sending = true;
  ready();
  const answer = await hub.call("POST", path, path === "jobs/" ? { ...body, key } : body).catch((error) => ({ status: 0, body: { message: String(error.message) } }));
  sending = false;
  ready();
  if (answer.status < 200 || answer.status > 299) {
    write(byId("fault"), answer.body?.message ?? `The hub refused it (${answer.status}).`);
    byId("fault").hidden = false;
    return;
  }
  location.assign(path === "jobs/" ? `/jobs/${encodeURIComponent(answer.body.id)}/` : `/fleets/${encodeURIComponent(page.fleet)}/schedules/`);
}

begin();
const hub = connected(() => ready());
commands();
field("zone").value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
choice();
argument();
changed();
byId("unchoose").addEventListener("click", () => {
  devices = [];
  choice();
  changed();
});
byId("command").addEventListener("change", argument);
byId("control").addEventListener("input", (event) => written && take(valueOf(/** @type {HTMLInputElement} */ (event.target))));
form.addEventListener("input", changed);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!start.disabled) send();
});
