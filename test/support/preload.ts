import { setDefaultTimeout } from "bun:test";

// For `bun test` of one file by hand. Over several files Bun keeps this for the first one only, so `npm test` passes
// --timeout as well. Service tests start real servers on two shared cores.
setDefaultTimeout(60_000);
