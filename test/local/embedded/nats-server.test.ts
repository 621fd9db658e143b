import { describe, expect, test } from "bun:test";
import { connect } from "nats";
import { createTestNats } from "#test/support/nats.ts";

async function streamNames(url: string): Promise<string[]> {
  const connection = await connect({ servers: url });
  const manager = await connection.jetstreamManager();
  const names = await Array.fromAsync(manager.streams.names());
  await connection.close();
  return names;
}

async function addStream(url: string, name: string): Promise<void> {
  const connection = await connect({ servers: url });
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name, subjects: [name] });
  await connection.close();
}

describe("startNatsServer", () => {
  test("keeps its streams through kill -9 on the same address, and loses them only when wiped", async () => {
    const nats = await createTestNats();
    try {
      await addStream(nats.url, "kept");
      await nats.kill9();
      await nats.restart();
      expect(await streamNames(nats.url)).toEqual(["kept"]);
      await nats.wipe();
      expect(await streamNames(nats.url)).toEqual([]);
    } finally {
      await nats.stop();
    }
  });
});
