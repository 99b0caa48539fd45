// Shows what a device can be told: a control for each command that it announced, with its live evidence.

import { confirmed } from "./asking.js";
import { control, input, isDangerous, known } from "./controls.js";
import { line, title } from "./evidence.js";
import { element, write } from "./page.js";
import { CLOSED } from "../live/state.js";

/** @typedef {import("./controls.js").Spec} Spec */
/** @typedef {import("../live/types.js").State} State */
/** @typedef {import("../live/types.js").How} How */
/** @typedef {{evidence: HTMLElement, show: (value: unknown) => void, ask: string}} Control */

// How long a command waits for its device, as the hub has it for who says nothing else.
const TTL_S = 60;

export class Commands {
  /**
   * @param {HTMLElement} root
   * @param {string} device
   * @param {import("../live/index.js").Hub} hub
   */
  constructor(root, device, hub) {
    this.root = root;
    this.device = device;
    this.hub = hub;
    /** @type {Map<string, Control>} */
    this.controls = new Map();
    /** @type {Record<string, Spec>} */
    this.specs = {};
    this.announced = "";
    this.enabled = false;
    this.why = /** @type {HTMLInputElement} */ (input("text", "Reason for the next command", "Why? It is kept with the next command"));
    this.why.maxLength = 200;
  }

  /** Make a control for each command. @param {Record<string, Spec>} specs */
  describe(specs) {
    const announced = JSON.stringify(specs);
    if (announced === this.announced) return;
    this.announced = announced;
    this.specs = specs;
    this.controls = new Map();
    const names = Object.keys(specs).sort();
    const boxes = names.map((name) => this.#control(name, specs[name]));
    if (!names.length) boxes.push(this.#free());
    this.root.replaceChildren(...boxes, this.#reason());
    this.#enable();
  }

  /** @param {string} name @param {Spec} spec */
  #control(name, spec) {
    const evidence = element("p", { class: "evidence", "aria-live": "polite" });
    const { parts, show } = control(name, spec, (args) => this.#give(name, args));
    const label = element("span", { class: "command-name", text: name, id: `command-${name}` });
    if (isDangerous(spec)) label.append(" ", element("span", { class: "dangerous", text: "dangerous" }));
    const head = element("div", { class: "command-head" }, label, ...parts);
    this.controls.set(name, { evidence, show, ask: "" });
    return element("div", { class: "command", "data-command": name }, head, evidence);
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
    this.controls.set("", { evidence, show: () => undefined, ask: "" });
    const hint = element("p", { class: "hint", text: "This device announced no commands, so it is sent whatever you write here. Makers: announce them (…/meta), and they become switches and sliders." });
    return element("div", { class: "command" }, form, evidence, hint);
  }

  /** A reason for the next command, for whoever wants to give one. */
  #reason() {
    const more = element("details", { class: "why-next" }, element("summary", { text: "Add a reason" }), this.why);
    more.addEventListener("toggle", () => /** @type {HTMLDetailsElement} */ (more).open && this.why.focus());
    return more;
  }

  /** @param {string} control @param {unknown} args @param {string} [name] */
  async #give(control, args, name = control) {
    const shown = this.controls.get(control);
    if (!shown || !this.enabled) return;
    /** @type {How} */
    const how = { reason: this.why.value.trim() };
    if (isDangerous(this.specs[name])) {
      const reason = await confirmed(this.#asked(name, args), how.reason);
      if (reason === null) return;
      Object.assign(how, { reason, confirm: true });
    }
    this.why.value = "";
    shown.ask = this.hub.order(this.device, name, args, how);
  }

  /** What somebody is asked before it happens. @param {string} name @param {unknown} args */
  #asked(name, args) {
    const spec = this.specs[name];
    const order = title({ name, args: known(spec, args) });
    const named = this.hub.state.about[this.device]?.name || document.getElementById("device-name")?.textContent || this.device;
    const who = named === this.device ? named : `${named} (${this.device})`;
    const { presence = "never", because = "" } = this.hub.state.devices[this.device] ?? {};
    const words = presence === "online" && !because.startsWith("asleep")
      ? "It is online, so it is told at once. What it has been told cannot be taken back."
      : `It is ${presence === "never" ? "not there yet: nobody has heard of it" : `${presence} (${because})`}. The command waits up to ${spec.type === "update" ? "a day" : `${TTL_S} s`} for it, and can be cancelled until then.`;
    return { title: `${order}?`, texts: [`${who} calls this command dangerous.`, words], act: order };
  }

  /**
   * @param {State} state
   * @param {import("../live/types.js").Order[]} orders  the device's, the newest first
   * @param {boolean} live  whether an order can be given now
   * @param {Record<string, unknown>} values  the device's newest readings: a command's own metric says its state
   */
  draw(state, orders, live, values) {
    if (live !== this.enabled) {
      this.enabled = live;
      this.#enable();
    }
    for (const [name, control] of this.controls) this.#evidence(name, control, state, orders, values);
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
}

/** @param {HTMLElement} part @param {string} text @param {string} state */
function tell(part, text, state) {
  write(part, text);
  part.dataset.state = state;
  part.classList.toggle("open", !CLOSED.has(state) && state !== "refused");
}
