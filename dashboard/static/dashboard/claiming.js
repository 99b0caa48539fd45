// Waits, with a person who has just made a claim code, for the device that claims it; counts down meanwhile.

import { connected } from "./corner.js";
import { begin, byId, given, write } from "./page.js";

const ASK_MS = 2000;

const page = given();
const ends = performance.now() + page.left_ms;
const waiting = byId("waiting");

begin();
connected();
const counting = setInterval(count, 1000);
count();
ask();

function count() {
  const left = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
  write(byId("left"), ` (${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left)`);
}

/** Ask what became of the code, until that is known. What cannot be had now is asked for again. */
async function ask() {
  const answer = await fetch(page.state, { headers: { Accept: "application/json" } }).catch(() => null);
  const code = answer?.ok ? await answer.json() : null;
  if (code?.state === "claimed") return over("arrived", `Claimed by ${code.device ?? "a device"}`, "It has its credentials, and can connect.", code.device);
  if (code?.state === "expired") return over("over", "Expired", "No device has claimed it. Make another one.");
  if (answer?.status === 404) return over("over", "Revoked", "No device can use it any more.");
  setTimeout(ask, ASK_MS);
}

/** @param {string} state @param {string} word @param {string} detail @param {string} [device] */
function over(state, word, detail, device) {
  clearInterval(counting);
  write(byId("left"), "");
  waiting.dataset.state = byId("claim").dataset.state = state;
  write(byId("waiting-word"), word);
  write(byId("waiting-detail"), detail);
  const go = /** @type {HTMLAnchorElement} */ (byId("go"));
  if (!device) return;
  go.href = `/devices/${encodeURIComponent(device)}/`;
  go.classList.add("btn-primary");
  write(go, "To the device’s page");
}
