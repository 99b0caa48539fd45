// The replay bar of a device's page: which moment, how fast, and back to live. The page shows that moment and nothing of
// now: what had come before it is read once, what follows comes by a subscription of its own, while the live one rests.

import { fromUtc, stamp } from "./format.js";
import { byId, credentials, element, write } from "./page.js";

const LIVE = "main";
const SPEEDS = [1, 10, 60, 600];
const SPANS = [3600, 86_400, 604_800];
const POINTS = 240;
// How many frames before the moment are read, by the device's usual interval; as many as a live page has at most.
const BEFORE = 10_000;
const ADDRESS_MS = 3000;
const TALL = 100;
const THIN = 2;
const FLAGS = /** @type {Record<string, number>} */ ({ late: 1, clock: 2, retained: 4 });

/** @typedef {import("../live/types.js").Row} Row */
/**
 * @typedef {object} Stage  the page, as the replay needs it
 * @property {string} key
 * @property {number} first  when the first frame that is kept arrived
 * @property {number | null} usual  ms between frames
 * @property {string | undefined} metric  which one is drawn behind the handle
 * @property {() => number} now  the hub's clock
 * @property {() => number} seconds  how much the charts show
 * @property {() => void} enter  keep what is shown
 * @property {() => void} clear  show nothing
 * @property {(rows: Row[]) => void} take
 * @property {() => void} restore  show what was shown before, and what came meanwhile
 * @property {() => void} draw  now
 */

export class Scrubber {
  /** @param {import("../live/index.js").Hub} hub @param {Stage} stage */
  constructor(hub, stage) {
    this.hub = hub;
    this.stage = stage;
    this.on = false;
    this.playing = false;
    this.speed = 10;
    /** The moment that is shown. */
    this.at = 0;
    this.span = Infinity;
    /** The newest frame taken; what came while the page was not ready for it. */
    this.seq = 0;
    this.held = /** @type {Row[] | null} */ (null);
    this.went = 0;
    this.addressedAt = 0;
    this.dragging = false;
    this.bar = byId("scrubber");
    this.opener = /** @type {HTMLButtonElement} */ (byId("replay-open"));
    this.handle = /** @type {HTMLInputElement} */ (byId("replay-moment"));
    this.goal = /** @type {HTMLInputElement} */ (byId("replay-goal"));
    this.#listen();
  }

  /** Another for each moment gone to, so that what is under way from another one is told apart. */
  get name() {
    return `replay-${this.went}`;
  }

  #listen() {
    this.opener.disabled = false;
    this.opener.addEventListener("click", () => (this.on ? this.leave() : this.go(this.stage.now() - this.stage.seconds() * 1000)));
    byId("replay-play").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    byId("replay-leave").addEventListener("click", () => this.leave());
    this.handle.addEventListener("input", () => {
      this.dragging = true;
      this.#tell(Number(this.handle.value));
    });
    this.handle.addEventListener("change", () => {
      this.dragging = false;
      this.go(Number(this.handle.value));
    });
    this.goal.addEventListener("change", () => this.goal.value && this.go(Date.parse(this.goal.value)));
    this.#choices("replay-speeds", SPEEDS.map((speed) => ({ text: `${speed}×`, value: speed })), (speed) => this.faster(speed));
    const lived = (this.stage.now() - this.stage.first) / 1000;
    const spans = SPANS.filter((span) => span < lived).map((span) => ({ text: span < 86_400 ? "1 h" : span < 604_800 ? "24 h" : "7 d", value: span }));
    this.#choices("replay-spans", spans.length ? [...spans, { text: "all", value: Infinity }] : [], (span) => this.#over(span));
    window.addEventListener("hashchange", () => this.addressed());
  }

  /** @param {string} id @param {{text: string, value: number}[]} choices @param {(value: number) => void} chosen */
  #choices(id, choices, chosen) {
    for (const { text, value } of choices) {
      const button = element("button", { type: "button", "data-value": String(value), text });
      button.addEventListener("click", () => chosen(value));
      byId(id).append(button);
    }
    byId(id).hidden = !choices.length;
  }

  /** Go where the address says: #t=<ms>&x=<speed>. */
  addressed() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const [at, speed] = [Number(asked.get("t")), Number(asked.get("x"))];
    if (!at) return;
    if (speed >= 0.1 && speed <= 1000) this.speed = speed;
    this.go(at);
  }

  /** Show a moment, and play on from there if it was playing, or is the first. @param {number} at @returns {Promise<void>} */
  async go(at) {
    const first = !this.on;
    if (first) this.#enter();
    this.at = Math.round(Math.min(Math.max(at, this.stage.first), this.stage.now()));
    this.playing ||= first;
    this.hub.leave(this.name);
    this.went += 1;
    const went = this.went;
    if (this.stage.now() - this.at > this.span * 1000) this.#over(Infinity);
    this.held = [];
    this.#ask();
    this.#tell(this.at);
    const rows = await this.#before();
    if (went !== this.went) return; // somewhere else meanwhile
    const held = this.held;
    this.held = null;
    this.seq = 0;
    this.stage.clear();
    this.#take(rows);
    this.#take(held);
    this.stage.draw();
    this.bar.removeAttribute("aria-busy");
  }

  /** Charts are wanted for another time. */
  again() {
    if (this.on) this.go(this.at);
  }

  #enter() {
    this.on = true;
    this.bar.hidden = false;
    this.opener.setAttribute("aria-expanded", "true");
    document.body.dataset.replay = "on";
    this.hub.pause(LIVE);
    this.stage.enter();
    const lived = (this.stage.now() - this.stage.first) / 1000;
    this.#over(SPANS.find((span) => span < lived && span > this.stage.seconds() * 2) ?? Infinity);
  }

  /** Back to now. */
  leave() {
    if (!this.on) return;
    this.on = this.playing = false;
    this.hub.leave(this.name);
    this.went += 1;
    this.bar.hidden = true;
    this.opener.setAttribute("aria-expanded", "false");
    delete document.body.dataset.replay;
    history.replaceState(null, "", location.pathname + location.search);
    this.stage.restore();
    this.opener.focus({ preventScroll: true });
  }

  play() {
    this.playing = true;
    this.#ask();
  }

  pause() {
    this.playing = false;
    this.#ask();
  }

  /** @param {number} speed */
  faster(speed) {
    this.speed = speed;
    this.#ask();
    this.#press();
  }

  /** Ask for what follows the moment; while it rests the subscription is there, but paused. */
  #ask() {
    this.hub.subscribe(this.name, { devices: [this.stage.key], replay: { from: this.at, speed: this.speed } });
    if (!this.playing) this.hub.pause(this.name);
    this.#address();
  }

  /**
   * Take what came, and show how far it got. What came with the live subscription is not of this moment.
   * @param {import("../live/types.js").State} state @param {import("../live/types.js").News[]} news
   */
  draw(state, news) {
    if (!this.on) return;
    const sub = state.subs[this.name];
    for (const one of news) if (one.kind === "rows" && one.sub === this.name) this.#take(one.rows);
    if (sub?.at && this.playing) this.at = Math.max(this.at, sub.at);
    if (sub?.phase === "live") {
      this.leave(); // it caught up
      return;
    }
    if (!this.dragging) this.#tell(this.at);
    if (this.playing && Date.now() - this.addressedAt > ADDRESS_MS) this.#address();
  }

  /** @param {Row[]} rows */
  #take(rows) {
    if (this.held) {
      this.held.push(...rows);
      return;
    }
    const news = rows.filter(([seq]) => seq > this.seq);
    if (!news.length) return;
    this.seq = news.reduce((most, [seq]) => Math.max(most, seq), this.seq);
    this.stage.take(news);
  }

  /** What the charts show before the moment. @returns {Promise<Row[]>} */
  async #before() {
    this.bar.setAttribute("aria-busy", "true");
    const least = Math.min(this.stage.seconds() * 1000, BEFORE * (this.stage.usual || 1000));
    const asked = { from: this.at - least, to: this.at, format: "ndjson", repaired: "include" };
    const text = await this.#fetch("export", asked, (answer) => answer.text());
    return (text ?? "").split("\n").filter(Boolean).map(rowOf).filter((row) => row.arrived < this.at).map(({ row }) => row);
  }

  /** @template T @param {string} what @param {Record<string, unknown>} asked @param {(answer: Response) => Promise<T>} read @returns {Promise<T | null>} */
  async #fetch(what, asked, read) {
    const query = new URLSearchParams(Object.entries(asked).map(([name, value]) => [name, String(value)]));
    try {
      const answer = await fetch(`/api/v1/devices/${encodeURIComponent(this.stage.key)}/${what}/?${query}`, { headers: credentials() });
      return answer.ok ? await read(answer) : null;
    } catch {
      return null; // the rail says that the hub is away
    }
  }

  // -- the bar

  /** What the handle goes over: the last so many seconds. @param {number} span */
  #over(span) {
    this.span = span;
    this.#press();
    this.#scale();
    this.#density();
  }

  #scale() {
    const now = this.stage.now();
    const from = Math.max(this.stage.first, now - this.span * 1000);
    this.handle.min = String(Math.floor(from));
    this.handle.max = String(Math.ceil(now));
    this.handle.step = String(Math.max(1, Math.round((now - from) / 1000)));
  }

  /** @param {number} at */
  #tell(at) {
    if (!this.dragging) {
      this.#scale();
      this.handle.value = String(at);
    }
    const text = stamp(at);
    this.handle.setAttribute("aria-valuetext", text);
    write(byId("replay-at"), text);
    if (document.activeElement !== this.goal) this.goal.value = fromUtc(new Date(at).toISOString().slice(0, 19));
    const part = (at - Number(this.handle.min)) / Math.max(1, Number(this.handle.max) - Number(this.handle.min));
    this.bar.style.setProperty("--played", String(Math.min(1, Math.max(0, part))));
    write(byId("replay-first"), stamp(Number(this.handle.min)));
    const play = byId("replay-play");
    play.dataset.state = this.playing ? "playing" : "paused";
    play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  #press() {
    for (const [id, value] of /** @type {[string, number][]} */ ([["replay-speeds", this.speed], ["replay-spans", this.span]])) {
      for (const button of byId(id).querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.value) === value));
    }
  }

  #address() {
    this.addressedAt = Date.now();
    history.replaceState(null, "", `#t=${this.at}&x=${this.speed}`);
  }

  async #density() {
    const { metric } = this.stage;
    if (!metric) return;
    const [span, from, to] = [this.span, Number(this.handle.min), Number(this.handle.max)];
    const found = await this.#fetch("series", { metric, from, to, points: POINTS }, (answer) => answer.json());
    if (span !== this.span) return;
    byId("replay-density").querySelector("path")?.setAttribute("d", found ? band(found.points, from, to, found.step ?? 0) : "");
  }
}

/** A line of an export as a row of the live protocol. @param {string} line */
function rowOf(line) {
  const { ts, received_at: arrived, seq, flags, values } = JSON.parse(line);
  const bits = flags.reduce((/** @type {number} */ sum, /** @type {string} */ word) => sum + (FLAGS[word] ?? 0), 0);
  return { arrived, row: /** @type {Row} */ ([seq, ts, values, bits]) };
}

/**
 * From least to greatest of each point as an SVG path in a box of 1000 × 100, broken where nothing was.
 * @param {[number, number, number, number, number, unknown][]} points  ts, min, avg, max, …
 * @param {number} from @param {number} to @param {number} step
 * @returns {string}
 */
export function band(points, from, to, step) {
  const numbers = points.filter(([, min, , max]) => typeof min === "number" && typeof max === "number");
  if (!numbers.length) return "";
  const low = Math.min(...numbers.map(([, min]) => min));
  const high = Math.max(...numbers.map(([, , , max]) => max));
  const tall = high - low || 1;
  const wide = Math.max(1200 / POINTS, (step / (to - from)) * 1000);
  const y = (/** @type {number} */ value) => TALL - 8 - ((value - low) / tall) * (TALL - 16);
  return numbers
    .map(([ts, min, , max]) => {
      const x = ((ts - from) / (to - from)) * 1000;
      return `M${x.toFixed(1)} ${(y(max) - THIN).toFixed(1)}h${wide.toFixed(1)}V${(y(min) + THIN).toFixed(1)}h${(-wide).toFixed(1)}z`;
    })
    .join("");
}
