// Shows one device: tiles, charts, commands and frames, on one subscription that joins history and live.

import { Charts } from "./charts.js";
import { Commands } from "./commands.js";
import { connected } from "./corner.js";
import { WORDS, clock, flags, instant } from "./format.js";
import { ask, begin, byId, element, given, notice, record, showPresence, write } from "./page.js";
import * as rail from "./rail.js";
import { Scrubber } from "./scrubber.js";
import { Settings } from "./settings.js";
import { withOrder, withSettings } from "../live/state.js";
import { Tiles } from "./tiles.js";

const FRAMES = 20;
const EVENTS = 20;
const page = given();
const key = /** @type {string} */ (page.key);
const tiles = new Tiles(byId("tiles"));
const charts = new Charts(byId("charts"), (zoomed) => {
  byId("follow").hidden = !zoomed;
});
let values = record(page.values);
let times = record(page.times);
let metrics = page.metrics;
let asked = 900;
let skew = page.now - Date.now();
let learnedAt = Date.now();

/** @type {Commands | null} */
let commands = null;

/** What it shall keep to; null where that is not shown. @type {Settings | null} */
let settings = null;

/** @type {Scrubber | null} */
let scrubber = null;

/** Lay out what the device measures and takes. */
function describe() {
  tiles.describe(metrics, values, times);
  charts.describe(metrics);
  byId("no-readings").hidden = Object.keys(values).length > 0;
}

/** @param {import("../live/types.js").Row[]} rows */
function take(rows) {
  let unknown = false;
  for (const [, ts, given_] of rows) {
    for (const [name, value] of Object.entries(given_)) {
      if (!metrics.some((/** @type {{name: string}} */ one) => one.name === name)) unknown = true;
      if (ts >= (times[name] ?? 0)) {
        if (!(name in values)) unknown = true;
        values[name] = value;
        times[name] = ts;
      }
    }
  }
  charts.add(rows);
  tiles.add(rows);
  if (unknown) relearn();
}

/** Ask the server what the device is by now: new metrics and commands, and evidence that was missed. */
async function relearn() {
  learnedAt = Date.now();
  const known = await ask(key);
  if (!known) return;
  const changed = JSON.stringify(known.metrics) !== JSON.stringify(metrics) || byId("tiles").children.length !== Object.keys(values).length;
  metrics = known.metrics;
  if (!scrubber?.on) take(newest(known));
  if (changed) {
    describe();
    if (!scrubber?.on) live.subscribe("main", request()); // rows of a metric that was unknown were not drawn
  }
  commands?.describe(known.commands);
  write(byId("device-name"), known.name || key);
  live.learn((state) => withSet(known.orders.reduce(withKnown, state), known));
}

/** What the server knows and the page does not, as rows. @param {any} known @returns {import("../live/types.js").Row[]} */
function newest(known) {
  const names = Object.keys(known.values).filter((name) => (known.times[name] ?? 0) > (times[name] ?? 0));
  return names.map((name) => [0, known.times[name], { [name]: known.values[name] }]);
}

/** @param {import("../live/types.js").State} state @param {any} order */
const withKnown = (state, order) => withOrder(state, { ...order, device: key });

/** @param {import("../live/types.js").State} state @param {any} known */
const withSet = (state, known) => (known.settings && known.settings.version >= (state.settings[key]?.version ?? 0) ? withSettings(state, { ...known.settings, device: key }) : state);

const request = () => ({ devices: [key], since: { last_s: asked } });

/** @param {import("../live/types.js").Row[]} rows */
function frames(rows) {
  const body = byId("frames");
  for (const [seq, ts, given_, bits] of rows.slice(-FRAMES)) {
    if (body.querySelector(`tr[data-seq="${seq}"]`)) continue;
    const cells = [element("td", { text: String(seq) }), element("td", {}, element("time", { text: instant(ts, Date.now() + skew), title: clock(ts, { ms: true }) })), element("td", {}, element("code", { text: asJson(given_) })), element("td", { text: flags(bits) })];
    const row = element("tr", { "data-seq": String(seq) }, ...cells);
    const before = [...body.children].find((other) => Number(other.getAttribute("data-seq")) < seq);
    body.insertBefore(row, before ?? null);
  }
  while (body.children.length > FRAMES) body.lastElementChild?.remove();
}

/** As the server writes it. @param {Record<string, unknown>} given_ */
const asJson = (given_) => `{${Object.entries(given_).map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")}}`;

/** Put a change of presence on top of what happened. @param {import("../live/types.js").Presence} presence */
function happened({ presence, because, since }) {
  const list = document.querySelector("#events ol");
  const newest = list?.querySelector('[data-kind="presence"]');
  const at = Date.parse(newest?.querySelector("time")?.getAttribute("datetime") ?? "");
  // Falling asleep and waking are reasons, and no change; never to have been there is none.
  if (!list || !since || since <= at || newest?.querySelector(".presence")?.getAttribute("data-presence") === presence) return;
  const time = element("time", { text: instant(since, Date.now() + skew), datetime: new Date(since).toISOString() });
  const dot = element("span", { class: "dot", "aria-hidden": "true" });
  const state = element("span", { class: "presence", "data-presence": presence }, dot, element("span", { class: "presence-word", text: WORDS[presence] ?? presence }));
  const row = element("li", { "data-kind": "presence" }, time, element("span", {}, state, " ", element("span", { class: "happened", text: because })));
  list.prepend(row);
  while (list.children.length > EVENTS) list.lastElementChild?.remove();
  byId("events-none").hidden = true;
}

let presenceDrawn = "";

/** @param {import("../live/types.js").Presence | undefined} presence */
function showState(presence) {
  if (!presence || presenceDrawn === JSON.stringify(presence)) return;
  const first = presenceDrawn === "";
  presenceDrawn = JSON.stringify(presence);
  showPresence(document.querySelector("#presence .presence"), presence.presence, WORDS[presence.presence] ?? presence.presence);
  document.body.dataset.presence = presence.presence;
  write(byId("because"), presence.because);
  if (presence.since) write(byId("since"), instant(presence.since, Date.now() + skew));
  happened(presence);
  // A device that comes (back) may have announced something new.
  if (!first && presence.presence === "online" && Date.now() - learnedAt > 1000) setTimeout(relearn, 1000);
}

/** @param {import("../live/types.js").About | undefined} about */
function showAbout(about) {
  if (!about) return;
  write(byId("device-name"), about.name || key);
  write(byId("device-fleet"), about.fleet);
  byId("disabled").hidden = about.enabled;
}

const GONE = "This device is gone: it was deleted, or you may not see it any more. What is shown here is what was known of it.";

/** Draw what is shown: now, or the moment of a replay. */
function draw() {
  const at = scrubber?.on ? scrubber.at : Date.now() + skew;
  undrawn = false;
  charts.draw(at);
  tiles.draw(at, charts.tracks);
}

/** The page as it was before a replay. */
let before = scene();

function scene() {
  return { values, times, tracks: charts.tracks, born: charts.born, frames: [...byId("frames").children] };
}

/** @param {typeof before} shown */
function show(shown) {
  ({ values, times } = shown);
  charts.tracks = shown.tracks;
  charts.born = shown.born;
  byId("frames").replaceChildren(...shown.frames);
  describe();
}

/** Show another time than now: nothing of now stays. @param {number} first @returns {Scrubber} */
function replays(first) {
  return new Scrubber(live, {
    key,
    first,
    usual: page.usual_ms,
    metric: metrics.find((/** @type {{type: string}} */ one) => one.type === "number")?.name,
    now: () => Date.now() + skew,
    seconds: () => charts.seconds,
    enter: () => {
      before = scene();
    },
    clear: () => {
      const nothing = record(Object.fromEntries(Object.keys(before.values).map((name) => [name, null])));
      show({ values: nothing, times: record(), tracks: new Map(), born: -Infinity, frames: [] });
    },
    take: (rows) => {
      undrawn = true;
      take(rows);
      frames(rows);
    },
    restore: () => {
      show(before);
      live.subscribe("main", request());
      relearn();
      draw();
    },
    draw,
  });
}

let lastDrawn = 0;
let undrawn = false;
let wasUp = false;

const live = connected((state, news) => {
  if (state.link.phase === "up") skew = state.skew;
  scrubber?.draw(state, news);
  for (const one of news) {
    if (one.kind !== "rows" || one.sub !== "main" || one.device !== key || scrubber?.on) continue;
    undrawn = true;
    take(one.rows);
    frames(one.rows);
    write(byId("seq"), String(one.rows[one.rows.length - 1][0]));
  }
  const now = Date.now() + skew;
  // Nobody sees a hidden page: it takes what comes, and draws once when it is back.
  if (!document.hidden && (undrawn || now - lastDrawn > 900)) {
    lastDrawn = now;
    draw();
  }
  const kind = rail.railOf(state, Date.now()).state;
  commands?.draw(state, state.link.phase === "up" && kind !== "down" && !scrubber?.on, values);
  settings?.draw(state.settings[key], state.devices[key], state.link.phase === "up" && kind !== "down" && !scrubber?.on, now);
  showState(state.devices[key]);
  showAbout(state.about[key]);
  notice(state.subs.main?.reason === "permission_revoked" ? GONE : "");
  const up = state.subs.main?.phase === "live";
  if (up && !wasUp && state.link.heardAt && learnedAt < Date.now() - 5000) relearn();
  wasUp = up;
});

function ranges() {
  const buttons = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll("#ranges button")]);
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => {
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
      const seconds = Number(button.dataset.seconds);
      charts.range(seconds);
      scrubber?.again();
      if (seconds <= asked) return;
      asked = seconds;
      if (scrubber?.on) return;
      live.subscribe("main", request());
    });
  }
  byId("follow").addEventListener("click", () => charts.follow());
}

begin();
describe();
ranges();
if (page.may_command) {
  commands = new Commands({ root: byId("commands"), list: byId("orders"), none: byId("no-orders") }, key, (name, args) => live.order(key, name, args));
  commands.describe(page.commands);
}
showState(page);
if (page.settings) {
  const save = async (/** @type {object} */ wanted) => {
    const answer = await live.call("PATCH", `devices/${key}/settings/`, wanted);
    if (answer.status === 200) live.learn((state) => withSet(state, { settings: answer.body }));
    return answer;
  };
  settings = new Settings(byId("settings"), page.may_command ? save : null);
}
live.learn((state) => withSet(page.orders.reduce(withKnown, state), page));
live.subscribe("main", request());
if (page.first) {
  scrubber = replays(page.first);
  scrubber.addressed();
}
