// What became of each device of a job: one page of the table, asked again while it changes, never more often than in 2 s.

import { wordOf } from "./evidence.js";
import { instant } from "./format.js";
import { byId, element, write } from "./page.js";
import { figure } from "./tally.js";

const AGAIN_MS = 2000;
const ROWS = 100;
// In the order in which people look for them.
const STATES = ["failed", "rejected", "unknown", "timed_out", "expired", "refused", "cancelled", "waiting", "queued", "sent", "received", "succeeded"];
const WORDS = /** @type {Record<string, string>} */ ({ waiting: "to come", refused: "refused by the hub" });

/** @param {string} state */
const word = (state) => WORDS[state] ?? wordOf(state);

export class Results {
  /** @param {string} job */
  constructor(job) {
    this.job = job;
    this.state = "";
    /** @type {string[]} the cursors of the pages up to this one; "" is the first */
    this.cursors = [""];
    this.next = "";
    this.counts = "";
    this.total = 0;
    this.askedAt = 0;
    this.asked = 0;
    this.due = false;
    byId("before").addEventListener("click", () => this.#turn(this.cursors.slice(0, -1)));
    byId("after").addEventListener("click", () => this.#turn([...this.cursors, this.next]));
  }

  /** The job has come further. @param {Record<string, number>} counts */
  counted(counts) {
    const text = JSON.stringify(counts);
    if (text === this.counts) return;
    const first = this.counts === "";
    this.counts = text;
    this.#standings(counts);
    if (!first) this.#soon();
  }

  /** @param {Record<string, number>} counts */
  #standings(counts) {
    this.total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const wanted = ["", ...STATES.filter((state) => counts[state] || state === this.state)];
    const root = byId("standings");
    if (root.dataset.drawn !== wanted.join()) {
      root.dataset.drawn = wanted.join();
      const held = document.activeElement instanceof HTMLElement && root.contains(document.activeElement) ? document.activeElement.dataset.state : undefined;
      root.replaceChildren(...wanted.map((state) => this.#filter(state)));
      if (held !== undefined) /** @type {HTMLElement | null} */ (root.querySelector(`[data-state="${held}"]`))?.focus();
    }
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("button"))) {
      const state = button.dataset.state ?? "";
      button.setAttribute("aria-pressed", String(state === this.state));
      write(button.querySelector("b"), figure(state ? (counts[state] ?? 0) : this.total));
    }
  }

  /** @param {string} state */
  #filter(state) {
    const button = element("button", { type: "button", class: "count", "data-state": state }, element("b"), state ? word(state) : "all");
    button.addEventListener("click", () => {
      this.state = state;
      this.#standings(JSON.parse(this.counts));
      this.#turn([""]);
    });
    return button;
  }

  /** @param {string[]} cursors */
  #turn(cursors) {
    this.cursors = cursors;
    this.show();
  }

  /** Ask again, once, when it is time. */
  #soon() {
    if (this.due) return;
    this.due = true;
    setTimeout(() => this.show(), Math.max(0, this.askedAt + AGAIN_MS - Date.now()));
  }

  /** Ask for this page, and show it. */
  async show() {
    this.due = false;
    this.askedAt = Date.now();
    const turn = (this.asked += 1);
    const cursor = this.cursors[this.cursors.length - 1];
    const query = new URLSearchParams({ limit: String(ROWS), ...(this.state ? { state: this.state } : {}), ...(cursor ? { cursor } : {}) });
    const answer = await fetch(`/api/v1/jobs/${encodeURIComponent(this.job)}/results/?${query}`, { headers: { Accept: "application/json" } }).catch(() => null);
    if (turn !== this.asked) return; // somebody has turned the page meanwhile
    if (!answer?.ok) {
      write(byId("results-said"), "cannot be read now; what is shown may be old");
      this.#soon();
      return;
    }
    write(byId("results-said"), "");
    this.#table(await answer.json());
  }

  /** @param {{results: any[], next: string | null}} answer */
  #table({ results, next }) {
    this.next = next ?? "";
    byId("results").replaceChildren(...results.map(row));
    byId("no-results").hidden = results.length > 0;
    const first = (this.cursors.length - 1) * ROWS + 1;
    write(byId("where"), results.length ? `${figure(first)} to ${figure(first + results.length - 1)}` : "");
    byId("pager").hidden = this.cursors.length === 1 && !next;
    /** @type {HTMLButtonElement} */ (byId("before")).disabled = this.cursors.length === 1;
    /** @type {HTMLButtonElement} */ (byId("after")).disabled = !next;
  }
}

/** @param {any} one */
function row({ device, name, state, message, at }) {
  const who = element("th", { scope: "row" }, element("a", { href: `/devices/${encodeURIComponent(device)}/`, text: name || device }));
  if (name && name !== device) who.append(" ", element("span", { class: "key", text: device }));
  const when = element("td", {}, at ? element("time", { text: instant(at, Date.now()), datetime: new Date(at).toISOString() }) : "");
  return element("tr", { "data-state": state }, who, element("td", {}, element("span", { class: "standing", text: word(state) })), element("td", { text: message }), when);
}
