// Shows commands: a control for each that the device announced, with its live evidence, and the last ones given.

import { givenAt, line, title, wordOf } from "./evidence.js";
import { reading } from "./format.js";
import { element, write } from "./page.js";
import { CLOSED } from "../live/state.js";

/** @typedef {{type: string, min?: number, max?: number, step?: number, unit?: string, options?: unknown[]}} Spec */
/** @typedef {import("../live/types.js").State} State */
/** @typedef {{box: HTMLElement, evidence: HTMLElement, show: (value: unknown) => void, ask: string}} Control */

const SHOWN = 20;

export class Commands {
  /**
   * @param {{root: HTMLElement, list: HTMLElement, none: HTMLElement}} places
   * @param {string} device
   * @param {(name: string, args: unknown) => string} give  returns the ask's id
   */
  constructor({ root, list, none }, device, give) {
    this.root = root;
    this.list = list;
    this.none = none;
    this.device = device;
    this.give = give;
    /** @type {Map<string, Control>} */
    this.controls = new Map();
    this.announced = "";
    this.enabled = false;
  }

  /** Make a control for each command. @param {Record<string, Spec>} specs */
  describe(specs) {
    const announced = JSON.stringify(specs);
    if (announced === this.announced) return;
    this.announced = announced;
    this.controls = new Map();
    const names = Object.keys(specs).sort();
    const boxes = names.map((name) => this.#control(name, specs[name]));
    if (!names.length) boxes.push(this.#free());
    this.root.replaceChildren(...boxes);
    this.#enable();
  }

  /** @param {string} name @param {Spec} spec */
  #control(name, spec) {
    const evidence = element("p", { class: "evidence", "aria-live": "polite" });
    const give = (/** @type {unknown} */ args) => this.#give(name, args);
    const { parts, show } = (KINDS[spec.type] ?? KINDS.text)(name, spec, give);
    const head = element("div", { class: "command-head" }, element("span", { class: "command-name", text: name, id: `command-${name}` }), ...parts);
    const box = element("div", { class: "command", "data-command": name }, head, evidence);
    this.controls.set(name, { box, evidence, show, ask: "" });
    return box;
  }

  /** For a device that announced nothing: any name, any argument. */
  #free() {
    const name = input("text", "Command", "led");
    const args = input("text", "Argument", "on");
    const button = element("button", { class: "btn btn-sm", type: "submit", text: "Send" });
    const form = element("form", { class: "free" }, name, args, button);
    const evidence = element("p", { class: "evidence", "aria-live": "polite" });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [word, text] = [name.value.trim(), args.value.trim()];
      if (word) this.#give("", text || null, word);
    });
    this.controls.set("", { box: form, evidence, show: () => undefined, ask: "" });
    const hint = element("p", { class: "hint", text: "This device announced no commands, so it is sent whatever you write here. Makers: announce them (…/meta), and they become switches and sliders." });
    return element("div", { class: "command" }, form, evidence, hint);
  }

  /** @param {string} control @param {unknown} args @param {string} [name] */
  #give(control, args, name = control) {
    const shown = this.controls.get(control);
    if (!shown || !this.enabled) return;
    shown.ask = this.give(name, args);
  }

  /**
   * @param {State} state
   * @param {boolean} live  whether an order can be given now
   * @param {Record<string, unknown>} values  the device's newest readings: a command's own metric says its state
   */
  draw(state, live, values) {
    if (live !== this.enabled) {
      this.enabled = live;
      this.#enable();
    }
    const orders = Object.values(state.orders).filter((order) => order.device === this.device);
    orders.sort((a, b) => givenAt(b) - givenAt(a) || (a.id < b.id ? 1 : -1));
    for (const [name, control] of this.controls) this.#evidence(name, control, state, orders, values);
    this.#history(orders.slice(0, SHOWN));
  }

  #enable() {
    for (const field of this.root.querySelectorAll("button, input, select")) {
      /** @type {HTMLButtonElement} */ (field).disabled = !this.enabled;
    }
  }

  /** @param {string} name @param {Control} control @param {State} state @param {import("../live/types.js").Order[]} orders @param {Record<string, unknown>} values */
  #evidence(name, control, state, orders, values) {
    const ask = state.asks[control.ask];
    const own = ask?.command ? state.orders[ask.command] : undefined;
    const order = own ?? (ask && !ask.error ? undefined : orders.find((one) => one.name === name));
    control.show(values[name] ?? orders.find((one) => one.name === name && one.state === "succeeded")?.args);
    if (ask?.error) tell(control.evidence, `refused: ${ask.error}`, "refused");
    else if (order) tell(control.evidence, `${title(order)}   ${line(order)}`, order.state);
    else if (ask) tell(control.evidence, "asking the hub …", "queued");
  }

  /** @param {import("../live/types.js").Order[]} orders */
  #history(orders) {
    this.none.hidden = orders.length > 0;
    const items = new Map([...this.list.children].map((item) => [item.getAttribute("data-id") ?? "", /** @type {HTMLElement} */ (item)]));
    const wanted = orders.map((order) => {
      const item = items.get(order.id) ?? element("li", { class: "order", "data-id": order.id });
      const text = JSON.stringify([order.events, order.by]);
      if (item.dataset.drawn === text) return item;
      item.dataset.drawn = text;
      item.dataset.state = order.state;
      const state = element("span", { class: "state", text: wordOf(order.state) });
      const head = element("div", { class: "order-head" }, element("b", { text: title(order) }), element("span", { class: "by", text: order.by }), state);
      item.replaceChildren(head, element("p", { class: "evidence", text: line(order) }));
      return item;
    });
    const same = wanted.length === this.list.children.length && wanted.every((item, index) => this.list.children[index] === item);
    if (!same) this.list.replaceChildren(...wanted);
  }
}

/** @param {HTMLElement} part @param {string} text @param {string} state */
function tell(part, text, state) {
  write(part, text);
  part.dataset.state = state;
  part.classList.toggle("open", !CLOSED.has(state) && state !== "refused");
}

/** @param {string} type @param {string} label @param {string} [placeholder] */
function input(type, label, placeholder) {
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
