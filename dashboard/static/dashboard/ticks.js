// Devices are ticked in the list of all, to be sent a command together.

import { byId, write } from "./page.js";

// An address is as long as servers and proxies take it.
const LONGEST = 6000;

/** @param {HTMLElement} rows @param {Record<string, {fleet: string}>} devices */
export function ticks(rows, devices) {
  const all = /** @type {HTMLInputElement} */ (byId("tick-all"));
  const send = /** @type {HTMLAnchorElement} */ (byId("ticked-send"));
  const boxes = () => /** @type {HTMLInputElement[]} */ ([...rows.querySelectorAll("input.tick")]);
  const keyOf = (/** @type {HTMLElement} */ box) => /** @type {HTMLElement} */ (box.closest("tr")).dataset.key ?? "";
  const isShown = (/** @type {HTMLElement} */ box) => !(/** @type {HTMLElement} */ (box.closest("tr")).hidden);

  function show() {
    const keys = boxes().filter((box) => box.checked).map(keyOf);
    const fleets = new Set(keys.map((key) => devices[key]?.fleet));
    const [fleet] = fleets;
    const href = `/fleets/${encodeURIComponent(fleet ?? "")}/jobs/new/?devices=${keys.map(encodeURIComponent).join()}`;
    const wrong = fleets.size > 1 ? "of several fleets: choose devices of one" : href.length > LONGEST ? "are too many to name: give them a tag, and select by it" : "";
    byId("ticked").hidden = !keys.length;
    write(byId("ticked-count"), `${keys.length} selected`);
    write(byId("ticked-said"), wrong);
    send.hidden = Boolean(wrong);
    send.href = href;
    all.checked = keys.length > 0 && boxes().filter(isShown).every((box) => box.checked);
    all.indeterminate = keys.length > 0 && !all.checked;
  }

  rows.addEventListener("change", show);
  all.addEventListener("change", () => {
    for (const box of boxes().filter(isShown)) box.checked = all.checked;
    show();
  });
  byId("untick").addEventListener("click", () => {
    for (const box of boxes()) box.checked = false;
    show();
  });
  for (const box of [...boxes(), all]) box.disabled = false;
  show();
}
