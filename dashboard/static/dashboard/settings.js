// Shows what a device shall keep to and what it keeps to, and saves what a person changes of that, several at once.

import { control } from "./controls.js";
import { instant, reading } from "./format.js";
import { element, write } from "./page.js";

/** @typedef {import("../live/types.js").Setting} Setting */
/** @typedef {import("../live/types.js").Settings} Known */
/** @typedef {import("../live/types.js").Value} Value */
/** @typedef {{presence: string, because: string}} Presence */
/** @typedef {{box: HTMLElement, spec: string, line: HTMLElement, back: HTMLButtonElement | null, show: (value: Value) => void}} Row */

const MAY_NOT = "Settings take the role operator in the device's fleet; ask a manager.";

export class Settings {
  /**
   * @param {HTMLElement} panel
   * @param {((wanted: {desired: Record<string, Value>, version: number}) => Promise<{status: number, body: any}>) | null} save
   *   null: who looks may not change them
   */
  constructor(panel, save) {
    this.panel = panel;
    this.save = save;
    this.list = /** @type {HTMLElement} */ (panel.querySelector(".settings"));
    /** What is chosen here, and not saved. @type {Map<string, Value>} */
    this.drafts = new Map();
    /** The version that was shown when the first of them was chosen. */
    this.version = 0;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.live = false;
    this.saving = false;
    this.said = "";
    this.button = /** @type {HTMLButtonElement} */ (element("button", { type: "button", class: "btn btn-primary btn-sm" }));
    this.undo = /** @type {HTMLButtonElement} */ (element("button", { type: "button", class: "btn btn-ghost btn-sm", text: "Undo" }));
    this.word = element("p", { class: "settings-said", role: "status" });
    this.bar = element("div", { class: "settings-bar" }, this.word, this.undo, this.button);
    this.bar.hidden = true;
    this.button.addEventListener("click", () => this.#save());
    this.undo.addEventListener("click", () => this.#forget());
    panel.append(save ? this.bar : element("p", { class: "nothing", text: MAY_NOT }));
    /** @type {Known} */
    this.known = { version: 0, rows: {} };
    this.now = 0;
    /** @type {Presence} */
    this.presence = { presence: "never", because: "" };
  }

  /** @param {Known | undefined} known @param {Presence | undefined} presence @param {boolean} live  whether anything can be saved now @param {number} now */
  draw(known, presence, live, now) {
    this.known = known ?? this.known;
    this.presence = presence ?? this.presence;
    this.now = now;
    this.live = live;
    const settings = Object.values(this.known.rows).sort((a, b) => (a.name < b.name ? -1 : 1));
    this.panel.hidden = settings.length === 0;
    for (const setting of settings) this.#row(setting);
    this.#bar();
  }

  /** @param {Setting} setting */
  #row(setting) {
    const spec = JSON.stringify(setting.spec ?? typeof (setting.desired ?? setting.reported));
    let row = this.rows.get(setting.name);
    if (row?.spec !== spec) {
      const made = this.#made(setting, spec);
      if (row) row.box.replaceWith(made.box);
      else this.list.insertBefore(made.box, this.#behind(setting.name));
      this.rows.set(setting.name, (row = made));
    }
    const draft = this.drafts.get(setting.name);
    const changed = this.drafts.has(setting.name);
    row.show(changed ? draft ?? setting.reported : setting.desired ?? setting.reported);
    row.box.dataset.state = setting.state;
    row.box.toggleAttribute("data-changed", changed);
    const unsaved = changed ? `not saved yet${draft === null ? ": given back to the device" : ""} · ` : "";
    write(row.line, unsaved + this.#told(setting));
    if (row.back) row.back.hidden = setting.desired === null || changed;
    for (const field of row.box.querySelectorAll("button, input, select")) /** @type {HTMLButtonElement} */ (field).disabled = !this.live;
  }

  /** The row that comes behind one of this name. @param {string} name */
  #behind(name) {
    const later = [...this.rows].filter(([other]) => other > name).sort(([a], [b]) => (a < b ? -1 : 1));
    return later[0]?.[1].box ?? null;
  }

  /** @param {Setting} setting @param {string} spec @returns {Row} */
  #made(setting, spec) {
    const { name } = setting;
    const line = element("p", { class: "evidence" });
    const label = element("span", { class: "command-name", text: name });
    if (!this.save) {
      const value = element("b", { class: "setting-value" });
      const show = (/** @type {Value} */ shown) => write(value, united(setting, shown));
      return { box: element("div", { class: "command setting", "data-setting": name }, element("div", { class: "command-head" }, label, value), line), spec, line, back: null, show };
    }
    const back = /** @type {HTMLButtonElement} */ (element("button", { type: "button", class: "btn btn-ghost btn-sm setting-back", text: "Give back", title: "Want nothing of it any more: the device goes back to its own default" }));
    back.addEventListener("click", () => this.#choose(name, null));
    const { parts, show } = control(name, setting.spec ?? { type: kindOf(setting.desired ?? setting.reported) }, (value) => this.#choose(name, /** @type {Value} */ (value)));
    for (const form of parts) if (form instanceof HTMLFormElement) this.#eager(form, name);
    const box = element("div", { class: "command setting", "data-setting": name }, element("div", { class: "command-head" }, label, ...parts), element("div", { class: "setting-foot" }, line, back));
    return { box, spec, line, back, show: (value) => shown(box, show, value) };
  }

  /** What is written in a form is chosen as it is written: what saves it is below. @param {HTMLFormElement} form @param {string} name */
  #eager(form, name) {
    form.querySelector("button")?.remove();
    form.addEventListener("input", (event) => {
      const field = /** @type {HTMLInputElement} */ (event.target);
      if (field.type !== "text" && field.value === "") this.#choose(name, undefined);
      else form.dispatchEvent(new Event("submit", { cancelable: true }));
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.#save();
    });
  }

  /** @param {string} name @param {Value | undefined} value */
  #choose(name, value) {
    const setting = this.known.rows[name];
    if (!this.live || !setting) return;
    if (!this.drafts.size) this.version = this.known.version;
    if (value === undefined || value === setting.desired) this.drafts.delete(name);
    else this.drafts.set(name, value);
    this.said = "";
    this.#row(setting);
    this.#bar();
  }

  #forget() {
    const names = [...this.drafts.keys()];
    this.drafts.clear();
    this.said = "";
    // A field that a person wrote in shows what is wanted again.
    for (const name of names) this.#again(name);
    this.#bar();
  }

  /** @param {string} name */
  #again(name) {
    this.rows.get(name)?.box.remove();
    this.rows.delete(name);
    if (this.known.rows[name]) this.#row(this.known.rows[name]);
  }

  async #save() {
    if (!this.save || !this.live || this.saving || !this.drafts.size) return;
    const wanted = Object.fromEntries(this.drafts);
    this.saving = true;
    this.said = "";
    this.#bar();
    try {
      const { status, body } = await this.save({ desired: wanted, version: this.version });
      if (status < 300) this.#saved(wanted);
      else this.said = body?.message ?? `The hub refused it (${status}).`;
      // Whoever saves again has read what the others did.
      if (body?.code === "conflict") this.version = this.known.version;
    } catch (error) {
      this.said = `Nobody knows whether it was saved: ${error instanceof Error ? error.message : error}`;
    }
    this.saving = false;
    this.#bar();
  }

  /** @param {Record<string, Value>} wanted */
  #saved(wanted) {
    for (const [name, value] of Object.entries(wanted)) {
      if (this.drafts.get(name) !== value) continue; // written on meanwhile
      this.drafts.delete(name);
      this.#again(name);
    }
    this.version = this.known.version;
  }

  #bar() {
    const count = this.drafts.size;
    this.bar.hidden = !count && !this.said;
    this.undo.hidden = this.button.hidden = !count;
    write(this.button, this.saving ? "Saving …" : count > 1 ? `Save ${count} changes` : "Save");
    this.button.disabled = this.undo.disabled = !this.live || this.saving;
    write(this.word, this.said);
  }

  /** What is known of a setting, in words. @param {Setting} setting */
  #told(setting) {
    const { state, desired, by, at } = setting;
    const keeps = setting.reported === null ? "not reported yet" : `the device keeps ${united(setting, setting.reported)}`;
    const when = at ? ` at ${instant(at, this.now)}` : "";
    const wanted = desired === null ? `${by} gave it back${when}` : `${by} wants ${united(setting, desired)} since${when.replace(" at", "")}`;
    if (state === "own") return keeps;
    if (state === "kept") return `kept: ${wanted}`;
    if (state === "different") return `${keeps}, although ${wanted}`;
    return `${wanted} · ${state === "sent" ? this.#sent(setting) : this.#waits()} · ${keeps}`;
  }

  /** @param {Setting} setting */
  #sent({ sent_at: at }) {
    const awake = this.presence.presence === "online" && !this.presence.because.startsWith("asleep");
    return `sent at ${instant(at ?? 0, this.now)}, no answer yet${awake ? "" : "; it is told again when it is back"}`;
  }

  #waits() {
    const { presence, because } = this.presence;
    if (presence === "online") return because.startsWith("asleep") ? "waits until it wakes" : "on its way";
    return presence === "never" ? "waits until it comes" : "waits until it is back";
  }
}

/** A value with its unit. @param {Setting} setting @param {Value} value */
const united = ({ spec }, value) => `${reading(value)}${spec?.unit && value !== null ? ` ${spec.unit}` : ""}`;

/** @param {Value} value */
const kindOf = (value) => (typeof value === "boolean" ? "bool" : typeof value === "number" ? "number" : "text");

/**
 * Show a value in a control, but not over what somebody writes.
 * @param {HTMLElement} box @param {(value: unknown) => void} show @param {Value} value
 */
function shown(box, show, value) {
  show(value);
  const field = box.querySelector("form.text input");
  if (field instanceof HTMLInputElement && document.activeElement !== field && field.value !== String(value ?? "")) field.value = String(value ?? "");
}
