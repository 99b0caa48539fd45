// The corner of each page: connects it, keeps the rail true, and opens the panel with the path from device to screen.

import { latencies } from "../live/hops.js";
import { connect } from "../live/index.js";
import { shownOf } from "./hoplist.js";
import { byId, element, given, over, write } from "./page.js";
import * as rail from "./rail.js";

const ENDED = "This link has expired or was revoked: what is shown here is what was known. Ask whoever sent it for another one.";
// How often the open panel asks; a closed one asks nothing.
const ASK_MS = 2000;

/** @typedef {import("../live/types.js").State} State */

/**
 * Connect a page.
 * @param {(state: State, news: import("../live/types.js").News[]) => void} [draw]  shows what is new
 * @returns {import("../live/index.js").Hub}
 */
export function connected(draw = () => undefined) {
  const panel = byId("path");
  const { token } = given();
  let open = false;
  const hub = connect({
    ...(token ? { token, url: "/ws/v1/live/?hello" } : {}),
    onChange: (state, news) => {
      if (token && state.link.phase === "refused") over(ENDED);
      draw(state, news);
      rail.show(state, Date.now());
      if (open) show(panel, state);
    },
  });
  const ask = () => {
    if (!open) return;
    hub.path().catch(() => undefined); // the rail says that there is no connection
    setTimeout(ask, ASK_MS);
  };
  panel.addEventListener("toggle", (event) => {
    open = /** @type {ToggleEvent} */ (event).newState === "open";
    show(panel, hub.state);
    ask();
  });
  /** @type {HTMLButtonElement} */ (byId("rail")).disabled = false;
  return hub;
}

let written = "";

/** @param {HTMLElement} panel @param {State} state */
function show(panel, state) {
  const shown = shownOf(state, latencies(state.samples));
  const text = JSON.stringify(shown);
  if (text === written) return;
  written = text;
  const said = shown.verdict.map(({ text: each, kind }) => element("li", { "data-kind": kind, text: each }));
  panel.querySelector(".path-verdict")?.replaceChildren(...said);
  panel.querySelector(".path-hops")?.replaceChildren(...shown.hops.map(hop));
  write(panel.querySelector(".path-whole"), shown.whole ? `${shown.whole} from device to screen` : "");
  write(panel.querySelector(".path-source"), shown.source);
}

/** @param {import("./hoplist.js").Hop} about */
function hop({ name, took, counts }) {
  const said = counts.filter(({ text }) => text).map(({ text, kind }) => element("span", { class: "path-count", "data-kind": kind, text }));
  return element("li", {}, element("b", { text: name }), element("span", { class: "path-took", text: took }), element("span", { class: "path-counts" }, ...said));
}
