// Lets a person keep, as a file, what the server has put into the page this once.

import { connected } from "./corner.js";
import { begin, byId, given } from "./page.js";

const button = byId("download");

begin();
connected();
button.hidden = false;
button.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([given().report], { type: "text/csv" }));
  link.download = button.dataset.name ?? "";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});
