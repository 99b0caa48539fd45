// Waits, with a person who has just got credentials, for the device's next reading, and says what it is.

import { reading } from "./format.js";
import { connect } from "./live.js";
import { begin, byId, given, write } from "./page.js";
import * as rail from "./rail.js";

const page = given();
const waiting = byId("waiting");

begin();
const live = connect((state, taken) => {
  rail.show(state, Date.now());
  const presence = state.devices[page.key];
  if (presence?.presence === "online" && waiting.dataset.state !== "arrived") {
    waiting.dataset.state = "connected";
    write(byId("waiting-word"), "It is connected");
    write(byId("waiting-detail"), "Now for its first reading.");
  }
  const newest = taken.flatMap((one) => one.rows).pop();
  if (!newest) return;
  waiting.dataset.state = "arrived";
  write(byId("waiting-word"), `Reading ${newest[0]} has arrived`);
  write(byId("waiting-detail"), Object.entries(newest[2]).map(([name, value]) => `${name} ${reading(value)}`).join(" · "));
  byId("go").classList.add("btn-primary");
});
live.subscribe("wait", { devices: [page.key], since: null });
live.start();
