/** The sandbox, as a process that ends with the bench. */
import { createSandbox } from "#services/local/sandbox/server.ts";
import { answerParent } from "../child.ts";

const sandbox = createSandbox({ port: 0, controlPort: 0 });
await sandbox.start();

answerParent({ url: () => sandbox.url }, () => sandbox.stop());
