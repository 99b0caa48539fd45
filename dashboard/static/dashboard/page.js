// What every page does: reads what the server gave it, writes times in the browser's zone, copies, asks before a loss.

import { fromUtc, instant, toUtc } from "./format.js";

/**
 * The data that the server put into the page.
 * @returns {any}
 */
export function given() {
  return JSON.parse(document.getElementById("page")?.textContent ?? "{}");
}

/**
 * An element that is there for sure.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Make an element. Texts are texts: nothing that a device said is ever read as markup.
 * @param {string} tag
 * @param {{class?: string, text?: string, title?: string, [attribute: string]: string | undefined}} [about]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/**
 * A record of what devices named: it has what was put into it alone, also where a metric is called "constructor".
 * @template T
 * @param {Record<string, T>} [named]
 * @returns {Record<string, T>}
 */
export const record = (named = {}) => Object.assign(Object.create(null), named);

/** Write only what changed, so that an idle page costs nothing. @param {Element | null} part @param {string} text */
export function write(part, text) {
  if (part && part.textContent !== text) part.textContent = text;
}

let lasting = "";

/** Say on the page what happened to it; empty: nothing any more. @param {string} text */
export function notice(text) {
  const part = byId("notice");
  const said = lasting || text;
  if (part.hidden === Boolean(said)) part.hidden = !said;
  write(part, said);
}

/** Say that the page is over, whatever else there is to say. @param {string} text */
export function over(text) {
  lasting = text;
  notice("");
}

/** What a request has to bring where the page is seen by a share link, and not by a session. */
export function credentials() {
  const { token } = given();
  return /** @type {Record<string, string>} */ (token ? { Authorization: `Token ${token}` } : {});
}

/** Let a part flash once. @param {Element} part */
export function flash(part) {
  part.classList.remove("flash");
  requestAnimationFrame(() => part.classList.add("flash"));
}

/** Show a presence. @param {Element | null} part @param {string} presence @param {string} word */
export function showPresence(part, presence, word) {
  if (!(part instanceof HTMLElement)) return;
  if (part.dataset.presence !== presence) part.dataset.presence = presence;
  write(part.querySelector(".presence-word"), word);
}

/** Write the server's times, which are UTC, in the browser's zone. */
export function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = Date.parse(time.getAttribute("datetime") ?? "");
    if (!Number.isNaN(at)) write(time, instant(at, Date.now()));
  }
}

/** Give each copy button its work. */
export function copyButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!(button instanceof HTMLElement)) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy ?? "");
      const done = await copied(source);
      write(button, done ? "Copied" : "Select and copy");
      setTimeout(() => write(button, "Copy"), 2000);
    });
  }
}

/** @param {HTMLElement | null} source @returns {Promise<boolean>} */
async function copied(source) {
  if (!source) return false;
  try {
    await navigator.clipboard.writeText((source.textContent ?? "").trim());
    return true;
  } catch {
    // Without https there is no clipboard: mark the text, so that the keys do it.
    window.getSelection()?.selectAllChildren(source);
    return document.execCommand("copy");
  }
}

/** Ask before a form does what cannot be undone. */
export function confirmations() {
  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => {
      if (!window.confirm(form.getAttribute("data-confirm") ?? "")) event.preventDefault();
    });
  }
}

/** Let people write their own time where a field takes UTC; what is sent is UTC, as without a script. */
export function localFields() {
  for (const form of document.forms) {
    const fields = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll('input[type="datetime-local"]')]);
    for (const field of fields) field.value = fromUtc(field.value);
    for (const zone of form.querySelectorAll("[data-zone]")) write(zone, "your time");
    form.addEventListener("formdata", ({ formData }) => {
      for (const field of fields) formData.set(field.name, toUtc(field.value));
    });
  }
}

/** What every page begins with. */
export function begin() {
  localTimes();
  localFields();
  copyButtons();
  confirmations();
}

const asking = new Map();

/**
 * What the server knows of a device now; asked once at a time.
 * @param {string} key
 * @returns {Promise<any>} null when it cannot be had
 */
export function ask(key) {
  if (!asking.has(key)) {
    const answer = fetch(`${given().at}${encodeURIComponent(key)}/state.json`, { headers: { Accept: "application/json" } })
      .then((response) => (response.ok && !response.redirected ? response.json() : null))
      .catch(() => null)
      .finally(() => asking.delete(key));
    asking.set(key, answer);
  }
  return asking.get(key);
}
