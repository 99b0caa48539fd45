// Draws where the devices of a job stand: a thin bar, and beside it the same in words and numbers.

import { element } from "./page.js";
import { figure, partsOf } from "./tally.js";

/** @param {HTMLElement} root @param {Record<string, number>} counts */
export function drawBar(root, counts) {
  const parts = partsOf(counts);
  const drawn = JSON.stringify(parts);
  if (root.dataset.drawn === drawn) return;
  root.dataset.drawn = drawn;
  const kinds = parts.map(({ kind }) => kind).join();
  if (root.dataset.kinds !== kinds) root.replaceChildren(...parts.map(({ kind }) => element("span", { "data-kind": kind })));
  root.dataset.kinds = kinds;
  parts.forEach(({ count, word }, index) => {
    const part = /** @type {HTMLElement} */ (root.children[index]);
    part.style.flexGrow = String(count);
    part.title = `${figure(count)} ${word}`;
  });
}

/** @param {HTMLElement} root @param {Record<string, number>} counts */
export function drawLegend(root, counts) {
  const parts = partsOf(counts);
  const drawn = JSON.stringify(parts);
  if (root.dataset.drawn === drawn) return;
  root.dataset.drawn = drawn;
  root.replaceChildren(...parts.map(({ kind, count, word }) => element("li", { "data-kind": kind }, element("b", { text: figure(count) }), element("span", { text: word }))));
}
