// Waits, with a person who has just got credentials, for the device's next reading, and says what it is.

import { connected } from "./corner.js";
import { reading } from "./format.js";
import { begin, byId, given, write } from "./page.js";

const page = given();
const waiting = byId("waiting");

begin();
const hub = connected((state, news) => {
  const presence = state.devices[page.key];
  if (presence?.presence === "online" && waiting.dataset.state !== "arrived") {
    waiting.dataset.state = "connected";
    write(byId("waiting-word"), "It is connected");
    write(byId("waiting-detail"), "Now for its first reading.");
  }
  const newest = news.flatMap((one) => (one.kind === "rows" ? one.rows : [])).pop();
  if (!newest) return;
  waiting.dataset.state = "arrived";
  write(byId("waiting-word"), `Reading ${newest[0]} has arrived`);
  write(byId("waiting-detail"), Object.entries(newest[2]).map(([name, value]) => `${name} ${reading(value)}`).join(" · "));
  byId("go").classList.add("btn-primary");
});
hub.watch({ devices: [page.key], since: null });
