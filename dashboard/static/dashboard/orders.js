// Shows the last commands of a device: the log of each as it grows, how far it is, and a way back while there is one.

import { givenAt, isCancellable, logOf, outcomeOf, progressOf, stepsOf, timesOf, title, waitOf, wordOf } from "./evidence.js";
import { element, write } from "./page.js";

const SHOWN = 20;

/** @typedef {import("../live/types.js").Order} Order */
/** @typedef {{item: HTMLDetailsElement, head: HTMLElement, wait: HTMLElement, said: HTMLElement, cancel: HTMLButtonElement, body: HTMLElement, drawn: string, chosen: boolean}} Shown
 *   chosen: whether a person said if it is open; else the newest is */

/** A device's commands, the newest first. @param {import("../live/types.js").State} state @param {string} device */
export function ordersOf({ orders }, device) {
  const own = Object.values(orders).filter((order) => order.device === device);
  return own.sort((a, b) => givenAt(b) - givenAt(a) || (a.id < b.id ? 1 : -1));
}

export class Orders {
  /**
   * @param {HTMLElement} list @param {HTMLElement} none
   * @param {((id: string) => Promise<{status: number, body: any}>) | null} cancel  null: whoever looks may not
   */
  constructor(list, none, cancel) {
    this.list = list;
    this.none = none;
    this.cancel = cancel;
    /** @type {Map<string, Shown>} */
    this.shown = new Map();
    // Which version the device announces.
    this.announced = "";
  }

  /** @param {Order[]} orders the newest first @param {number} now @param {boolean} live */
  draw(orders, now, live) {
    this.none.hidden = orders.length > 0;
    const wanted = orders.slice(0, SHOWN);
    for (const [id, one] of this.shown) {
      if (wanted.some((order) => order.id === id)) continue;
      one.item.parentElement?.remove();
      this.shown.delete(id);
    }
    const shown = wanted.map((order) => this.#item(order, now, live, outcomeOf(order, orders, this.announced)));
    shown.forEach(({ item, chosen }, index) => {
      if (!chosen && item.open !== (index === 0)) item.open = index === 0;
    });
    const items = shown.map(({ item }) => item.parentElement ?? this.list);
    const same = items.length === this.list.children.length && items.every((item, index) => this.list.children[index] === item);
    if (!same) this.list.replaceChildren(...items);
  }

  /** @param {Order} order @param {number} now @param {boolean} live @param {string} outcome */
  #item(order, now, live, outcome) {
    const one = this.shown.get(order.id) ?? this.#made(order.id);
    write(one.wait, waitOf(order, now));
    one.cancel.hidden = !this.cancel || !isCancellable(order, now);
    one.cancel.disabled = !live;
    const text = JSON.stringify([order, outcome]);
    if (one.drawn === text) return one;
    one.drawn = text;
    const row = /** @type {HTMLElement} */ (one.item.parentElement);
    row.dataset.state = order.state;
    if (order.state !== "queued") write(one.said, "");
    one.head.replaceChildren(element("b", { text: title(order) }), element("span", { class: "by", text: order.by }), element("span", { class: "state", text: wordOf(order.state) }));
    one.body.replaceChildren(...body(order), ...(outcome ? [element("p", { class: "hint", text: outcome })] : []));
    return one;
  }

  /** @param {string} id @returns {Shown} */
  #made(id) {
    const head = element("span", { class: "order-head" });
    const wait = element("span", { class: "wait" });
    const cancel = /** @type {HTMLButtonElement} */ (element("button", { type: "button", class: "btn btn-sm", text: "Cancel it" }));
    const said = element("span", { class: "wait", role: "status" });
    const body = element("div", { class: "order-body" });
    const item = /** @type {HTMLDetailsElement} */ (element("details", {}, element("summary", {}, head), body));
    element("li", { class: "order", "data-id": id }, item, element("p", { class: "order-foot" }, wait, cancel, said));
    cancel.addEventListener("click", () => this.#cancel(id, cancel, said));
    const made = { item, head, wait, said, cancel, body, drawn: "", chosen: false };
    item.firstElementChild?.addEventListener("click", () => {
      made.chosen = true;
    });
    this.shown.set(id, made);
    return made;
  }

  /** @param {string} id @param {HTMLButtonElement} button @param {HTMLElement} said */
  async #cancel(id, button, said) {
    button.disabled = true;
    write(said, "asking the hub …");
    try {
      const { status, body } = (await this.cancel?.(id)) ?? { status: 0, body: null };
      write(said, status < 300 ? "" : (body?.message ?? `refused (${status})`));
    } catch (error) {
      write(said, error instanceof Error ? error.message : String(error));
    }
  }
}

/** What is known of it. @param {Order} order */
function body(order) {
  const parts = [];
  if (order.reason) parts.push(element("p", { class: "order-reason", text: `“${order.reason}”` }));
  const steps = stepsOf(order);
  if (steps.length) parts.push(element("ol", { class: "course" }, ...steps.map(({ step, is }) => element("li", { "data-is": is, text: step, "aria-current": is === "now" ? "step" : undefined }))));
  const done = progressOf(order);
  if (done !== null) parts.push(element("progress", { max: "1", value: String(done), "aria-label": `${title(order)}: ${Math.round(done * 100)} %` }));
  parts.push(element("ol", { class: "log" }, ...logOf(order).map(entry)));
  const times = timesOf(order);
  if (times) parts.push(element("p", { class: "hint", text: `${times}: the device knows a repeated command again, and does it once.` }));
  return parts;
}

/** @param {import("./evidence.js").Entry} about */
function entry({ word, state, at, when, proof, message, by, late }) {
  const time = element("time", { text: when, datetime: new Date(at).toISOString() });
  const said = [proof, by && `by ${by}`].filter(Boolean).join(" · ");
  const words = element("span", {}, element("b", { text: word }), said ? ` ${said}` : "");
  if (message) words.append(element("q", { text: message }));
  return element("li", { "data-state": state, ...(late ? { "data-late": "" } : {}) }, time, words);
}

