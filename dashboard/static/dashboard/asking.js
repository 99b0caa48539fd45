// Asks before something dangerous is done: what, to whom, what comes of it, and why.

import { element } from "./page.js";

/** @typedef {{title: string, texts: string[], act: string}} Asked  what the dialog says, and what its button does */

const MAX_REASON = 200;

/**
 * Ask; Escape, or a change of mind, is a no.
 * @param {Asked} asked
 * @param {string} [known]  a reason that was written before
 * @returns {Promise<string | null>} the reason; null: no
 */
export function confirmed({ title, texts, act }, known = "") {
  const reason = /** @type {HTMLInputElement} */ (element("input", {
    class: "form-control", name: "reason", id: "asked-reason", required: "", maxlength: String(MAX_REASON), autocomplete: "off", value: known,
  }));
  const no = element("button", { type: "button", class: "btn", text: "Cancel" });
  const yes = element("button", { type: "submit", class: "btn btn-danger", text: act });
  const form = /** @type {HTMLFormElement} */ (element(
    "form", { method: "dialog", class: "asked" },
    element("h2", { id: "asked-title", text: title }),
    ...texts.map((text) => element("p", { text })),
    element("div", { class: "field" }, element("label", { class: "form-label", for: "asked-reason", text: "Why? It is written down with your name." }), reason),
    element("div", { class: "actions" }, no, yes),
  ));
  const dialog = /** @type {HTMLDialogElement} */ (element("dialog", { class: "sheet", "aria-labelledby": "asked-title" }, form));
  document.body.append(dialog);
  return new Promise((resolve) => {
    let answer = /** @type {string | null} */ (null);
    no.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", (event) => {
      reason.value = reason.value.trim();
      if (!form.reportValidity()) event.preventDefault();
      else answer = reason.value;
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    dialog.showModal();
    reason.focus();
  });
}
