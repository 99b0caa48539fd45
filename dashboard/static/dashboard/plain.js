// A page that watches no device: the server's HTML, with the corner that says whether the hub is there.

import { connected } from "./corner.js";
import { begin } from "./page.js";

begin();
connected();
