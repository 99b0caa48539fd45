// A small line of the newest points. `path` is PURE; `draw` writes it into an SVG.

import { silence } from "./series.js";

const WIDTH = 96;
const HEIGHT = 24;
const MARGIN = 2;

/**
 * The line as an SVG path in a box of 96 × 24, broken where the device was silent; empty for fewer than two points.
 * @param {[number, number][]} line  [ts, value], by time
 * @returns {string}
 */
export function path(line) {
  if (line.length < 2) return "";
  const values = line.map(([, value]) => value);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const from = line[0][0];
  const wide = line[line.length - 1][0] - from || 1;
  // A calm line stays calm: what moves less than a hundredth of its size is not blown up to full height.
  const tall = Math.max(high - low, Math.abs(high) * 0.01, 1e-9);
  const middle = (high + low) / 2;
  const gap = silence(line.map(([ts]) => ts));
  return line
    .map(([ts, value], at) => {
      const x = ((ts - from) / wide) * WIDTH;
      const y = HEIGHT / 2 - ((value - middle) / tall) * (HEIGHT - 2 * MARGIN);
      const broken = at === 0 || ts - line[at - 1][0] > gap;
      return `${broken ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}

/**
 * Draw the line.
 * @param {Element | null} svg
 * @param {[number, number][]} line
 */
export function draw(svg, line) {
  if (!svg) return;
  let drawn = svg.firstElementChild;
  if (!drawn) {
    drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.append(drawn);
  }
  drawn.setAttribute("d", path(line));
}
