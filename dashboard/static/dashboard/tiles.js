// Shows a device's newest readings: large value, unit, age, a small line; a value that changed flashes once.

import { decimals, reading, span } from "./format.js";
import { element, flash, write } from "./page.js";
import { draw } from "./spark.js";

/** @typedef {{name: string, unit: string, class: string, type: string}} Metric */
/** @typedef {{card: HTMLElement, value: HTMLElement, age: HTMLElement, spark: Element, ts: number, least: number}} Tile */

const LINE_POINTS = 60;

export class Tiles {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
  }

  /**
   * Lay out a tile for each metric that has a value.
   * @param {Metric[]} metrics
   * @param {Record<string, import("../live/types.js").Value>} values
   * @param {Record<string, number>} times
   */
  describe(metrics, values, times) {
    const cards = [];
    for (const metric of metrics.filter(({ name }) => name in values)) {
      const tile = this.#made(metric);
      this.tiles.set(metric.name, tile);
      cards.push(tile.card);
      this.#set(tile, values[metric.name], times[metric.name] ?? 0);
    }
    this.root.replaceChildren(...cards);
  }

  /** @param {Metric} metric @returns {Tile} */
  #made({ name, unit }) {
    const bold = element("b");
    const value = element("span", { class: "value" }, bold);
    if (unit) value.append(" ", element("i", { text: unit }));
    const age = element("span", { class: "age" });
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, text] of [["class", "spark"], ["viewBox", "0 0 96 24"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) {
      spark.setAttribute(key, text);
    }
    const card = element("div", { class: "tile", "data-metric": name }, element("span", { class: "label", text: name, title: name }), value, spark, age);
    return { card, value: bold, age, spark, ts: 0, least: 0 };
  }

  /** @param {import("../live/types.js").Row[]} rows  in order */
  add(rows) {
    for (const [, ts, values] of rows) {
      for (const [name, value] of Object.entries(values)) {
        const tile = this.tiles.get(name);
        if (tile && ts >= tile.ts) this.#set(tile, value, ts);
      }
    }
  }

  /** @param {Tile} tile @param {import("../live/types.js").Value} value @param {number} ts */
  #set(tile, value, ts) {
    if (typeof value === "number") tile.least = Math.max(tile.least, decimals(value));
    const text = reading(value, tile.least);
    if (tile.value.textContent && tile.value.textContent !== text) flash(tile.card);
    write(tile.value, text);
    tile.card.classList.toggle("long", text.length > 9);
    tile.ts = ts;
  }

  /**
   * @param {number} now
   * @param {Map<string, import("./series.js").Track>} tracks
   */
  draw(now, tracks) {
    for (const [name, tile] of this.tiles) {
      write(tile.age, tile.ts ? span(now - tile.ts) : "—");
      const track = tracks.get(name);
      if (!track || track.times.length < 2) continue;
      const times = track.times.slice(-LINE_POINTS);
      const values = track.values.slice(-LINE_POINTS);
      draw(tile.spark, times.map((ts, index) => [ts, values[index]]));
    }
  }
}
