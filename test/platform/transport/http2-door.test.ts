import { describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { createHttp2Door } from "#services/platform/transport/http2-door.ts";
import { defaultLimits } from "#services/platform/transport/limits.ts";
import { eventually } from "#test/support/eventually.ts";

/** What the door needs of a socket. */
class FakeSocket extends EventEmitter {
  destroyed = false;
  paused = false;
  pause() {
    this.paused = true;
  }
  isPaused() {
    return this.paused;
  }
  resume() {
    this.paused = false;
  }
  destroy() {
    this.destroyed = true;
    this.emit("close");
  }
}

function setup() {
  const door = createHttp2Door({ ...defaultLimits, resetsPerSecond: 10 });
  const arrive = (bucket: string) => {
    const socket = new FakeSocket();
    const state = { socket, served: false };
    door.pass(socket as unknown as Socket, bucket, () => {
      state.served = true;
    });
    return state;
  };
  return { door, arrive };
}

describe("the door of HTTP/2", () => {
  test("lets forty in at once, the others unread one after the other, and nobody else's wait for them", async () => {
    const { arrive } = setup();
    const flood = Array.from({ length: 60 }, () => arrive("a"));
    const waiting = flood.filter(({ served }) => !served);
    // A token more may have come meanwhile.
    expect(waiting.length).toBeWithin(15, 21);
    for (const { socket } of waiting) expect([socket.paused, socket.destroyed]).toEqual([true, false]);
    expect(arrive("b").served).toBe(true);
    await eventually(() => flood.every(({ served, socket }) => served && !socket.paused));
  });

  test("forgets who has gone while waiting", async () => {
    const { arrive } = setup();
    const flood = Array.from({ length: 42 }, () => arrive("a"));
    const gone = flood.at(-1)!;
    gone.socket.destroy();
    await eventually(() => flood.slice(0, -1).every(({ served }) => served));
    expect(gone.served).toBe(false);
  });

  test("is shut from one reset too many until the budget is full again, for that address alone", async () => {
    const { door, arrive } = setup();
    let counted = 0;
    while (door.countReset("a")) counted += 1;
    // Twice ten a second, and two seconds' worth of it.
    expect(counted).toBeWithin(40, 45);
    const refused = arrive("a");
    expect([refused.served, refused.socket.paused]).toEqual([false, true]);
    expect(arrive("b").served).toBe(true);
    await eventually(() => refused.socket.destroyed);
    expect(refused.served).toBe(false);
    await eventually(() => arrive("a").served);
  });
});
