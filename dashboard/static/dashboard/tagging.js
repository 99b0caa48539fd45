// A device's tags, which its managers may change.

import { element, write } from "./page.js";

/** @typedef {(tags: string[]) => Promise<{status: number, body: any}>} Put */

/** Let them be changed. @param {HTMLElement} root @param {string[]} tags @param {Put} put */
export function tagging(root, tags, put) {
  const fault = element("p", { class: "fault", role: "alert" });
  const said = element("span", { class: "tags" });
  const change = element("button", { type: "button", class: "link", text: "Change" });
  const field = /** @type {HTMLInputElement} */ (element("input", { class: "form-control", "aria-label": "Tags, with blanks between them", placeholder: "roof north", autocomplete: "off" }));
  const form = element("form", { class: "tagging" }, field, element("button", { type: "submit", class: "btn btn-sm", text: "Save" }));

  function show() {
    const chips = tags.map((tag) => element("span", { class: "chip", text: tag }));
    said.replaceChildren(...(chips.length ? chips : [element("span", { class: "muted", text: "none" })]));
    root.replaceChildren(said, change);
  }

  change.addEventListener("click", () => {
    field.value = tags.join(" ");
    write(fault, "");
    root.replaceChildren(form, fault);
    field.focus();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    show();
    change.focus();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wanted = field.value.split(/[\s,]+/).filter(Boolean);
    const answer = await put(wanted).catch((error) => ({ status: 0, body: { message: String(error.message) } }));
    if (answer.status === 200) {
      tags = answer.body.tags;
      show();
      change.focus();
    } else write(fault, answer.body?.message ?? `The hub refused it (${answer.status}).`);
  });
  show();
}
