import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { createTestDatabase } from "#test/support/postgres.ts";

/** In a process of its own: what is to be shown is that the process lives on. */
const program = `
  import { createDatabase } from "#services/core/database/client.ts";
  const { sql, close } = createDatabase({ url: process.env.DATABASE_URL, maxConnections: 1 });
  const other = createDatabase({ url: process.env.DATABASE_URL, maxConnections: 1 });
  for (let i = 0; i < 5; i++) {
    const failed = await sql.begin(async (tx) => {
      const [{ pid }] = await tx\`SELECT pg_backend_pid() AS pid\`;
      await other.sql\`SELECT pg_terminate_backend(\${pid})\`;
      await tx\`SELECT 1\`.catch(() => {});
      await tx\`SELECT 1\`;
    }).then(() => "committed", (error) => error.code);
    const startedAt = performance.now();
    const [row] = await sql\`SELECT 'well' AS again\`;
    console.log(failed === "committed" ? failed : "failed", row.again, performance.now() - startedAt < 3000);
  }
  await Promise.all([close(), other.close()]);
`;

describe("a database connection that is cut inside a transaction", () => {
  test("fails that transaction, and neither the process nor the next query", async () => {
    const database = await createTestDatabase();
    const child = Bun.spawn([process.execPath, "-e", program], {
      cwd: join(import.meta.dirname, "../../.."),
      env: { ...process.env, DATABASE_URL: database.url },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await database.drop();
    expect({ code: await child.exited, out, err }).toEqual({ code: 0, out: "failed well true\n".repeat(5), err: "" });
  });
});
