// A small line of the newest points. `points` is PURE; `draw` writes it into an SVG polyline.

const WIDTH = 96;
const HEIGHT = 24;
const MARGIN = 2;

/**
 * The line as polyline points in a box of 96 × 24; empty for fewer than two points.
 * @param {[number, number][]} line  [ts, value], by time
 * @returns {string}
 */
export function points(line) {
  if (line.length < 2) return "";
  const values = line.map(([, value]) => value);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const from = line[0][0];
  const wide = line[line.length - 1][0] - from || 1;
  // A calm line stays calm: what moves less than a hundredth of its size is not blown up to full height.
  const tall = Math.max(high - low, Math.abs(high) * 0.01, 1e-9);
  const middle = (high + low) / 2;
  return line
    .map(([ts, value]) => {
      const x = ((ts - from) / wide) * WIDTH;
      const y = HEIGHT / 2 - ((value - middle) / tall) * (HEIGHT - 2 * MARGIN);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

/**
 * Draw the line.
 * @param {Element | null} svg
 * @param {[number, number][]} line
 */
export function draw(svg, line) {
  if (!svg) return;
  let polyline = svg.firstElementChild;
  if (!polyline) {
    polyline = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    svg.append(polyline);
  }
  polyline.setAttribute("points", points(line));
}
