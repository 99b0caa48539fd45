// Shows charts: one for each unit, with one time axis, one cursor and one zoom for all of them.
/// <reference path="./vendor.d.ts" />

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { clock, decimals, reading } from "./format.js";
import { element, write } from "./page.js";
import { aligned, grouped, Track } from "./series.js";

const HEIGHT = { number: 188, bool: 96 };
const COLOURS = 8;
const SYNC = "device";
const YOUNGEST_MS = 60_000;
// The cursor finds a point this near, in pixels.
const NEAR_PX = 24;

/** @typedef {{name: string, unit: string, class: string, type: string}} Metric */
/** @typedef {{group: ReturnType<typeof grouped>[number], plot: uPlot | null, card: HTMLElement, box: HTMLElement,
 *   values: HTMLElement[], late: number[][], figures: HTMLElement, dirty: boolean}} Chart */

export class Charts {
  /**
   * @param {HTMLElement} root
   * @param {(zoomed: boolean) => void} onzoom
   */
  constructor(root, onzoom) {
    this.root = root;
    this.onzoom = onzoom;
    /** @type {Map<string, Track>} */
    this.tracks = new Map();
    /** @type {Metric[]} */
    this.metrics = [];
    /** @type {Chart[]} */
    this.charts = [];
    this.seconds = 900;
    // The longest range that was looked at: what is older is kept no longer.
    this.longest = this.seconds;
    /** @type {[number, number] | null} */
    this.zoom = null;
    this.now = 0;
    // When the device's very first frame happened, if it was seen: before it there is nothing to show.
    this.born = -Infinity;
    this.resized = new ResizeObserver(() => this.#resize());
    this.resized.observe(root);
    document.addEventListener("theme", () => this.#rebuild());
  }

  /** @param {Metric[]} metrics */
  describe(metrics) {
    this.metrics = metrics;
    for (const { name } of metrics) if (!this.tracks.has(name)) this.tracks.set(name, new Track());
    this.#rebuild();
  }

  /** @param {import("../live/types.js").Row[]} rows */
  add(rows) {
    for (const [seq, ts, values, flags = 0] of rows) {
      if (seq === 1) this.born = ts;
      for (const [name, value] of Object.entries(values)) {
        if (typeof value === "string") continue;
        this.tracks.get(name)?.add(ts, Number(value), Boolean(flags & 1));
      }
    }
    for (const track of this.tracks.values()) track.keep(this.longest * 1000);
    for (const chart of this.charts) chart.dirty = true;
  }

  /** Show the last so many seconds, and follow. @param {number} seconds */
  range(seconds) {
    this.seconds = seconds;
    this.longest = Math.max(this.longest, seconds);
    this.follow();
  }

  /** Leave the zoom. */
  follow() {
    this.zoom = null;
    this.onzoom(false);
    this.draw(this.now);
  }

  /** @param {number} now  ms */
  draw(now) {
    this.now = now;
    const [min, max] = this.zoom ?? this.#window(now);
    for (const chart of this.charts) {
      if (chart.dirty) this.#fill(chart);
      chart.plot?.setScale("x", { min, max });
      if (!chart.plot?.cursor.idx) this.#legend(chart, null);
      this.#table(chart, min * 1000);
    }
  }

  /** What is looked at (s). A device younger than the range is shown from its first frame on. @param {number} now @returns {[number, number]} */
  #window(now) {
    const lived = Math.max(YOUNGEST_MS, (now - this.born) * 1.04);
    return [Math.max(now - this.seconds * 1000, now - (Number.isFinite(lived) ? lived : Infinity)) / 1000, now / 1000];
  }

  /** @param {Chart} chart */
  #fill(chart) {
    chart.dirty = false;
    const { columns, late } = aligned(chart.group.names.map((name) => this.#track(name)));
    chart.late = late;
    const empty = columns[0].length === 0;
    if (chart.card.hidden !== empty) {
      chart.card.hidden = empty;
      this.#widen();
    }
    if (!empty && !chart.plot) chart.plot = this.#plot(chart, /** @type {uPlot.AlignedData} */ (columns));
    else chart.plot?.setData(/** @type {uPlot.AlignedData} */ (columns), false);
  }

  /** @param {string} name */
  #track(name) {
    return this.tracks.get(name) ?? new Track();
  }

  #rebuild() {
    for (const chart of this.charts) chart.plot?.destroy();
    this.charts = grouped(this.metrics).map((group) => this.#card(group));
    this.#widen();
    this.root.replaceChildren(...this.charts.map((chart) => chart.card));
    if (this.now) this.draw(this.now);
  }

  /** Where two stand side by side, the odd one out and the switches take the whole width. */
  #widen() {
    const shown = this.charts.filter((chart) => !chart.card.hidden);
    const numbers = shown.filter((chart) => chart.group.kind === "number");
    for (const chart of shown) {
      const odd = numbers.length % 2 === 1 && chart === numbers[numbers.length - 1];
      chart.card.classList.toggle("wide", odd || chart.group.kind === "bool");
    }
    this.#resize();
  }

  /** @param {ReturnType<typeof grouped>[number]} group @returns {Chart} */
  #card(group) {
    const values = group.names.map(() => element("b", { text: "—" }));
    const legend = group.names.map((name, index) =>
      element("span", { class: "legend", "data-colour": String((index % COLOURS) + 1) }, element("span", { class: "swatch" }), name, values[index]),
    );
    const title = group.title ? element("span", { class: "unit", text: group.title }) : "";
    const box = element("div", { class: "plot", role: "img", "aria-label": `Chart of ${group.names.join(", ")} over time` });
    const figures = element("tbody");
    const head = ["metric", "newest", "least", "mean", "greatest", "points"].map((text) => element("th", { scope: "col", text }));
    const table = element("table", { class: "raw" }, element("thead", {}, element("tr", {}, ...head)), figures);
    const details = element("details", { class: "figures" }, element("summary", { text: "Figures" }), table);
    const card = element("figure", { class: "panel chart" }, element("figcaption", {}, ...legend, title), box, details);
    card.hidden = true;
    return { group, plot: null, card, box, values, late: [], figures, dirty: true };
  }

  /** @param {Chart} chart @param {uPlot.AlignedData} columns */
  #plot(chart, columns) {
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const bool = chart.group.kind === "bool";
    const font = `11px ${style.getPropertyValue("--font") || "sans-serif"}`;
    const axis = { stroke: colour("--muted"), font, ticks: { show: false }, grid: { stroke: colour("--grid"), width: 1 } };
    /** @type {uPlot.Options} */
    const options = {
      width: width(chart.box),
      height: HEIGHT[chart.group.kind],
      legend: { show: false },
      padding: [8, 12, 0, 0],
      cursor: {
        sync: { key: SYNC, scales: ["x", null] },
        drag: { x: true, y: false, setScale: false },
        dataIdx: near,
        points: { size: 7, width: 1.5 },
      },
      scales: { x: { time: true, auto: false }, y: bool ? { range: [-0.15, 1.15] } : { range: roomy } },
      axes: [
        { ...axis, size: 30, space: 70, values: (_, splits, _axis, _space, step) => splits.map((at) => clock(at * 1000, { seconds: step < 60 })) },
        bool
          ? { ...axis, size: 52, splits: () => [0, 1], values: () => ["off", "on"] }
          : { ...axis, size: 52, space: 36, values: (_, splits) => ticks(splits) },
      ],
      series: [{}, ...chart.group.names.map((name, index) => this.#series(chart, name, index, colour))],
      hooks: {
        setCursor: [(plot) => this.#legend(chart, plot)],
        setSelect: [(plot) => this.#select(plot)],
      },
    };
    const plot = new uPlot(options, columns, chart.box);
    plot.over.addEventListener("dblclick", () => this.follow());
    return plot;
  }

  /** @param {Chart} chart @param {string} name @param {number} index @param {(name: string) => string} colour @returns {uPlot.Series} */
  #series(chart, name, index, colour) {
    // A gap begins a pixel early: rounding would else let the first of the way to the next point be seen.
    const stroke = colour(`--c${(index % COLOURS) + 1}`);
    const bool = chart.group.kind === "bool";
    return {
      label: name,
      stroke,
      width: 1.5,
      gaps: (_plot, _which, _from, _to, gaps) => gaps.map(([from, to]) => [from - Math.ceil(devicePixelRatio), to]),
      fill: chart.group.names.length === 1 ? `color-mix(in srgb, ${stroke} 10%, transparent)` : undefined,
      paths: bool ? uPlot.paths.stepped?.({ align: 1 }) : undefined,
      // Late points are hollow; a lone point between two gaps must be seen too, so few points are all drawn.
      points: { size: 5, width: 1.5, fill: colour("--surface"), stroke, show: (_, which) => this.#pointed(chart, which), filter: (plot, which) => this.#points(chart, plot, which) },
    };
  }

  /** @param {Chart} chart @param {number} which */
  #pointed(chart, which) {
    return chart.late[which - 1].length > 0 || this.#few(chart, which);
  }

  /** @param {Chart} chart @param {number} which */
  #few(chart, which) {
    return this.#track(chart.group.names[which - 1]).times.length < 3;
  }

  /** @param {Chart} chart @param {uPlot} plot @param {number} which @returns {number[]} */
  #points(chart, plot, which) {
    if (!this.#few(chart, which)) return chart.late[which - 1];
    return [...plot.data[which]].flatMap((value, index) => (value === null || value === undefined ? [] : [index]));
  }

  /** @param {uPlot} plot */
  #select(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    this.zoom = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    for (const chart of this.charts) chart.plot?.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.onzoom(true);
    this.draw(this.now);
  }

  /** Write the values at the cursor, or the newest. @param {Chart} chart @param {uPlot | null} plot */
  #legend(chart, plot) {
    const at = plot?.cursor.idx ?? null;
    chart.group.names.forEach((name, index) => {
      const track = this.#track(name);
      const where = plot?.cursor.idxs?.[index + 1];
      const hovered = at !== null && where !== null && where !== undefined ? plot?.data[index + 1][where] : undefined;
      const value = at === null ? track.values[track.values.length - 1] : hovered;
      write(chart.values[index], chart.group.kind === "bool" && value !== undefined && value !== null ? reading(value > 0) : reading(value, track.decimals));
    });
  }

  /** The chart in figures, for whoever does not see it. @param {Chart} chart @param {number} from */
  #table(chart, from) {
    if (!(chart.figures.closest("details")?.open ?? false)) return;
    const rows = chart.group.names.map((name) => {
      const found = this.#track(name).figures(from);
      const cells = found ? [found.newest, found.least, found.mean, found.most].map((value) => reading(value)) : ["—", "—", "—", "—"];
      return element("tr", {}, ...[name, ...cells, String(found?.count ?? 0)].map((text) => element("td", { text })));
    });
    chart.figures.replaceChildren(...rows);
  }

  #resize() {
    for (const chart of this.charts) chart.plot?.setSize({ width: width(chart.box), height: HEIGHT[chart.group.kind] });
  }
}

/** @param {HTMLElement} box */
const width = (box) => Math.max(200, box.clientWidth);

/** Leave air above and below, and do not blow noise up to full height. @type {uPlot.Range.Function} */
function roomy(_plot, min, max) {
  if (min === null || max === null) return [0, 1];
  const room = Math.max((max - min) * 0.12, Math.abs(max) * 0.01, 0.05);
  return [min - room, max + room];
}

/** @param {number[]} splits */
function ticks(splits) {
  const most = Math.max(0, ...splits.map((value) => Math.min(3, decimals(value))));
  return splits.map((value) => reading(value, most));
}

/** The point nearest to the cursor that this series really has. @type {uPlot.Cursor.DataIdxRefiner} */
function near(plot, which, hovered, at) {
  const column = plot.data[which];
  if (which === 0 || (column[hovered] !== null && column[hovered] !== undefined)) return hovered;
  const far = Math.abs(plot.posToVal(NEAR_PX, "x") - plot.posToVal(0, "x"));
  for (let step = 1; step < column.length; step += 1) {
    const sides = [hovered - step, hovered + step].filter((index) => Math.abs((plot.data[0][index] ?? Infinity) - at) <= far);
    if (!sides.length) return /** @type {any} */ (null);
    const found = sides.find((index) => column[index] !== null && column[index] !== undefined);
    if (found !== undefined) return found;
  }
  return /** @type {any} */ (null);
}
