import { createSandbox } from "./server.ts";

const sandbox = createSandbox({
  port: portFrom("SANDBOX_PORT", 7010),
  controlPort: portFrom("SANDBOX_CONTROL_PORT", 7011),
  host: process.env.SANDBOX_HOST || "127.0.0.1",
  stateFile: process.env.SANDBOX_STATE || undefined,
});

await sandbox.start();
console.log(`Bot API sandbox at ${sandbox.url}, controls that stay open at ${sandbox.controlUrl}`);

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    sandbox.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
}

function portFrom(name: string, fallback: number): number {
  const given = process.env[name];
  if (given === undefined || given === "") return fallback;
  if (/^\d{1,5}$/.test(given) && Number(given) <= 65_535) return Number(given);
  console.error(`${name} must be a port number from 0 to 65535.`);
  process.exit(1);
}
