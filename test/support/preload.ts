import { setDefaultTimeout } from "bun:test";

// `[test] timeout` in bunfig.toml is ignored; this works. Service tests start real servers on two shared cores.
setDefaultTimeout(60_000);
