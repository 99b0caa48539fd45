// Shows the fleet: a row for each device, kept as true as the link is.

import { connected } from "./corner.js";
import { WORDS, decimals, instant, reading, span } from "./format.js";
import { ask, begin, byId, element, flash, given, notice, record, showPresence, write } from "./page.js";
import { draw } from "./spark.js";
import { ticks } from "./ticks.js";

/** @typedef {{name: string, unit: string, class: string, type: string}} Metric */
/** @typedef {{row: HTMLElement, parts: Record<string, HTMLElement>, metrics: Metric[], line: [number, number][],
 *   decimals: Record<string, number>, cells: string}} Shown */

const READINGS = 4;
const LINE_POINTS = 60;
const PLACE = new Set(["latitude", "longitude", "accuracy", "altitude", "course"]);
const page = given();
const skewAtLoad = page.now - Date.now();

/** @type {Map<string, Shown>} */
const shown = new Map();
/** @type {Record<string, import("../live/types.js").Summary>} */
let fleet = page.devices;
const wanted = { text: "", presence: "", tag: "" };
const rows = byId("rows");

/** @param {HTMLElement} row @param {Metric[]} metrics @param {[number, number][]} line @returns {Shown} */
function adopt(row, metrics, line) {
  /** @type {Record<string, HTMLElement>} */
  const parts = {};
  for (const part of row.querySelectorAll("[data-part]")) {
    if (part instanceof Element) parts[part.getAttribute("data-part") ?? ""] = /** @type {HTMLElement} */ (part);
  }
  return { row, parts, metrics, line, decimals: record(), cells: "" };
}

/** @param {string} key @returns {Shown} */
function added(key) {
  const template = /** @type {HTMLTemplateElement} */ (byId("row"));
  const row = /** @type {HTMLElement} */ (/** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild);
  row.dataset.key = key;
  const one = adopt(row, [], []);
  one.parts.name.setAttribute("href", `${page.at}${encodeURIComponent(key)}/`);
  write(one.parts.key, key);
  const after = [...rows.children].find((other) => (other.getAttribute("data-key") ?? "") > key);
  rows.insertBefore(row, after ?? null);
  return one;
}

/** @param {string} key */
function update(key) {
  const summary = fleet[key];
  if (!summary) {
    shown.get(key)?.row.remove();
    shown.delete(key);
    return;
  }
  const one = shown.get(key) ?? added(key);
  shown.set(key, one);
  one.row.dataset.presence = summary.presence;
  write(one.parts.name, summary.name || key);
  write(one.parts.because, summary.because);
  write(one.parts.since, summary.since ? `, since ${instant(summary.since, Date.now())}` : "");
  showPresence(one.row.querySelector(".presence"), summary.presence, WORDS[summary.presence] ?? summary.presence);
  if (Object.keys(summary.values).some((name) => !one.metrics.some((metric) => metric.name === name))) describe(key, one);
  readings(one, summary);
}

/** A metric that is not known yet: ask the server what it is; meanwhile it is shown by its name. @param {string} key @param {Shown} one */
async function describe(key, one) {
  const names = Object.keys(fleet[key].values);
  const known = new Set(one.metrics.map((metric) => metric.name));
  one.metrics = [...one.metrics, ...names.filter((name) => !known.has(name)).map((name) => ({ name, unit: "", class: "", type: "" }))];
  const answer = await ask(key);
  if (answer?.metrics && shown.get(key) === one) {
    one.metrics = answer.metrics;
    if (fleet[key]) readings(one, fleet[key]);
  }
}

/** @param {Shown} one @param {import("../live/types.js").Summary} summary */
function readings(one, summary) {
  const picked = one.metrics.filter(({ name, class: kind }) => name in summary.values && !PLACE.has(kind)).slice(0, READINGS);
  const cells = JSON.stringify(picked);
  if (one.cells !== cells) {
    one.cells = cells;
    one.parts.readings.replaceChildren(...picked.map(cell));
  }
  picked.forEach((metric, index) => {
    const value = summary.values[metric.name];
    const least = typeof value === "number" ? Math.max(one.decimals[metric.name] ?? 0, decimals(value)) : 0;
    one.decimals[metric.name] = least;
    const text = reading(value, least);
    const holder = /** @type {HTMLElement} */ (one.parts.readings.children[index]);
    const bold = holder.querySelector("b");
    if (bold && bold.textContent !== text) {
      if (bold.textContent) flash(holder);
      bold.textContent = text;
    }
    holder.title = `${metric.name}: ${String(value)} ${metric.unit}`.trim();
  });
  extend(one, summary);
}

/** @param {Metric} metric */
function cell(metric) {
  const value = element("span", { class: "value" }, element("b"));
  if (metric.unit) value.append(" ", element("i", { text: metric.unit }));
  return element("span", { class: "reading", "data-metric": metric.name }, element("span", { class: "label", text: metric.name }), value);
}

/** @param {Shown} one @param {import("../live/types.js").Summary} summary */
function extend(one, summary) {
  const metric = one.metrics.find((each) => each.type === "number" && !PLACE.has(each.class));
  if (!metric) return;
  const value = summary.values[metric.name];
  const ts = summary.times[metric.name];
  const last = one.line[one.line.length - 1];
  if (typeof value === "number" && (!last || ts > last[0])) one.line.push([ts, value]);
  one.line = one.line.slice(-LINE_POINTS);
  draw(one.parts.spark, one.line);
}

/** @param {number} now */
function ages(now) {
  for (const [key, one] of shown) {
    const ts = fleet[key]?.ts;
    write(one.parts.age, ts ? span(now - ts) : "—");
  }
}

function counts() {
  /** @type {Record<string, number>} */
  const found = { online: 0, stale: 0, offline: 0, never: 0 };
  for (const summary of Object.values(fleet)) found[summary.presence] = (found[summary.presence] ?? 0) + 1;
  for (const button of document.querySelectorAll("#counts button")) {
    const presence = /** @type {HTMLElement} */ (button).dataset.presence ?? "";
    write(button.querySelector("b"), String(found[presence]));
    /** @type {HTMLElement} */ (button).hidden = !found[presence] && wanted.presence !== presence;
  }
  const any = shown.size > 0;
  byId("fleet").hidden = !any;
  byId("empty").hidden = any;
}

function sift() {
  let matches = 0;
  for (const [key, one] of shown) {
    const summary = fleet[key];
    const text = `${key} ${summary.name} ${summary.because} ${WORDS[summary.presence]}`.toLowerCase();
    const tags = page.devices[key]?.tags ?? [];
    const fits = (!wanted.presence || summary.presence === wanted.presence) && (!wanted.tag || tags.includes(wanted.tag)) && `${text} ${tags.join(" ")}`.includes(wanted.text);
    if (one.row.hidden === fits) one.row.hidden = !fits;
    matches += fits ? 1 : 0;
  }
  byId("no-match").hidden = matches > 0 || shown.size === 0;
}

function controls() {
  const filter = /** @type {HTMLInputElement} */ (byId("filter"));
  filter.disabled = false;
  filter.addEventListener("input", () => {
    wanted.text = filter.value.trim().toLowerCase();
    sift();
  });
  const buttons = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll("#counts button")]);
  const press = (/** @type {string} */ presence) => {
    wanted.presence = presence;
    for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.presence === presence));
    sift();
  };
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => press(wanted.presence === button.dataset.presence ? "" : button.dataset.presence ?? ""));
  }
  const tags = /** @type {HTMLSelectElement | null} */ (document.getElementById("tag-filter"));
  tags?.addEventListener("change", () => {
    wanted.tag = tags.value;
    sift();
  });
  if (tags) tags.disabled = false;
  byId("clear").addEventListener("click", () => {
    filter.value = wanted.text = wanted.tag = "";
    if (tags) tags.value = "";
    press("");
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.closest("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      filter.focus();
    } else if (event.key === "Escape" && event.target === filter) {
      filter.value = wanted.text = "";
      sift();
      filter.blur();
    }
  });
}

begin();
for (const row of rows.querySelectorAll("tr")) {
  const key = row.dataset.key ?? "";
  const line = (page.sparks[key] ?? []).filter((/** @type {[number, unknown]} */ [, value]) => typeof value === "number");
  line.sort((/** @type {[number, number]} */ a, /** @type {[number, number]} */ b) => a[0] - b[0]);
  shown.set(key, adopt(row, page.devices[key].metrics, line));
  update(key);
}
controls();
if (document.getElementById("ticked")) ticks(rows, page.devices);

const hub = connected((state, news) => {
  const now = Date.now() + (state.link.phase === "connecting" && !state.link.heardAt ? skewAtLoad : state.skew);
  const touched = new Set(news.flatMap((one) => (one.kind === "fleet" ? one.devices : one.kind === "device" ? [one.device] : [])));
  if (touched.size) {
    fleet = state.fleet;
    for (const key of touched) update(key);
    counts();
    sift();
  }
  ages(now);
  notice(withdrawn(state));
});

/** Which fleets are shown no more. @param {import("../live/types.js").State} state */
function withdrawn(state) {
  const gone = Object.values(state.subs).filter(({ phase, reason }) => phase === "ended" && reason === "permission_revoked");
  const names = gone.map(({ request }) => request.fleet).join(", ");
  return names ? `The devices of ${names} are shown no more: the fleet is gone, or you are not in it any more.` : "";
}

// What the server wrote into the page is what is known until the hub says more.
hub.learn((state) => ({ ...state, fleet: page.devices }));
page.fleets.forEach((/** @type {{slug: string}} */ { slug }) => hub.watch({ fleet: slug }));
