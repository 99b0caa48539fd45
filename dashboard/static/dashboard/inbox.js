// The inbox of rejects is the server's HTML; the times are written as people here read them, and discarding asks first.

import { begin } from "./page.js";

begin();
