// What a command's or setting's argument is chosen with: a control for each kind that devices announce.

import { reading } from "./format.js";
import { element } from "./page.js";

/** @typedef {{type: string, min?: number, max?: number, step?: number, unit?: string, options?: unknown[], dangerous?: boolean}} Spec */

/** @param {string} type @param {string} label @param {string} [placeholder] */
export function input(type, label, placeholder) {
  const look = type === "range" ? "form-range" : "form-control";
  return /** @type {HTMLInputElement} */ (element("input", { type, class: look, "aria-label": label, placeholder, autocomplete: "off" }));
}

/** @typedef {(name: string, spec: Spec, give: (args: unknown) => void) => {parts: HTMLElement[], show: (value: unknown) => void}} Kind */

/** @type {Kind} */
function bool(name, _spec, give) {
  const buttons = [false, true].map((value) => {
    const button = element("button", { type: "button", class: "choice", "aria-pressed": "false", text: value ? "on" : "off", "aria-label": `${name} ${value ? "on" : "off"}` });
    button.addEventListener("click", () => give(value));
    return button;
  });
  const group = element("div", { class: "choices", role: "group", "aria-label": name }, ...buttons);
  return { parts: [group], show: (value) => press(buttons, [false, true].indexOf(/** @type {boolean} */ (value))) };
}

/** @param {HTMLElement[]} buttons @param {number} pressed */
function press(buttons, pressed) {
  buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === pressed)));
}

/** @type {Kind} */
function choice(name, { options = [] }, give) {
  if (options.length > 4) return select(name, options, give);
  const buttons = options.map((option) => {
    const button = element("button", { type: "button", class: "choice", "aria-pressed": "false", text: reading(option) });
    button.addEventListener("click", () => give(option));
    return button;
  });
  const group = element("div", { class: "choices", role: "group", "aria-label": name }, ...buttons);
  return { parts: [group], show: (value) => press(buttons, options.indexOf(value)) };
}

/** @param {string} name @param {unknown[]} options @param {(args: unknown) => void} give */
function select(name, options, give) {
  const made = /** @type {HTMLSelectElement} */ (element("select", { class: "form-select", "aria-label": name }));
  made.append(element("option", { text: "choose …", value: "" }), ...options.map((option, index) => element("option", { text: reading(option), value: String(index) })));
  made.addEventListener("change", () => made.value !== "" && give(options[Number(made.value)]));
  return { parts: [made], show: (/** @type {unknown} */ value) => {
    const index = options.indexOf(value);
    if (index >= 0 && document.activeElement !== made) made.value = String(index);
  } };
}

/** @type {Kind} */
function number(name, { min, max, step, unit }, give) {
  const ranged = min !== undefined && max !== undefined;
  const field = input("number", name);
  const slider = ranged ? input("range", `${name}, slider`) : null;
  for (const one of slider ? [field, slider] : [field]) {
    if (min !== undefined) one.min = String(min);
    if (max !== undefined) one.max = String(max);
    one.step = step === undefined ? (ranged && one === slider ? String((max - min) / 100) : "any") : String(step);
  }
  const form = element("form", { class: "number" }, ...(slider ? [slider] : []), field, ...(unit ? [element("i", { text: unit })] : []), element("button", { class: "btn btn-sm", type: "submit", text: "Set" }));
  let touched = false;
  field.addEventListener("input", () => {
    touched = true;
    if (slider) slider.value = field.value;
  });
  slider?.addEventListener("input", () => {
    touched = true;
    field.value = slider.value;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value === "" || !Number.isFinite(field.valueAsNumber)) return;
    touched = false;
    give(field.valueAsNumber);
  });
  return { parts: [form], show: (value) => {
    if (typeof value !== "number" || touched || document.activeElement === field || document.activeElement === slider) return;
    field.value = String(value);
    if (slider) slider.value = String(value);
  } };
}

/** @type {Kind} */
function action(name, _spec, give) {
  const button = element("button", { type: "button", class: "btn btn-sm", text: "Run", "aria-label": `Run ${name}` });
  button.addEventListener("click", () => give(null));
  return { parts: [button], show: () => undefined };
}

/** @type {Kind} */
function text(name, _spec, give) {
  const field = input("text", name);
  const form = element("form", { class: "text" }, field, element("button", { class: "btn btn-sm", type: "submit", text: "Send" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    give(field.value);
  });
  return { parts: [form], show: () => undefined };
}

/** @type {Record<string, Kind>} */
const KINDS = { bool, enum: choice, number, action, text };

/** The control for this. @type {Kind} */
export const control = (name, spec, give) => (KINDS[spec.type] ?? text)(name, spec, give);

/** What nobody may be told without being asked first. @param {Spec | undefined} spec */
export const isDangerous = (spec) => Boolean(spec && (spec.dangerous || spec.type === "update"));
