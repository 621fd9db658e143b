import { BodyBroken } from "./exchange.ts";

/** A body takes this much ahead of its reader; then its connection is not read until the reader has caught up. */
const aheadBytes = 256 * 1024;

export interface InboxOptions {
  /** The reader wants the next bytes; called before each wait. */
  onWanted: () => void;
  /** There is room again after `push` said that there was none. */
  onRoom: () => void;
}

/** The bytes of a body between the connection that brings them and the handler that reads them. */
export class BodyInbox implements AsyncIterable<Uint8Array> {
  private readonly chunks: Uint8Array[] = [];
  private bytes = 0;
  private ended = false;
  private broken = false;
  private wake: (() => void) | undefined;

  constructor(private readonly options: InboxOptions) {}

  get isFull(): boolean {
    return this.bytes >= aheadBytes;
  }

  push(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.bytes += chunk.byteLength;
    this.wakeReader();
  }

  end(): void {
    this.ended = true;
    this.wakeReader();
  }

  /** What has come is dropped: a part of a body is no body. */
  breakOff(): void {
    if (this.ended) return;
    this.broken = true;
    this.drop();
    this.wakeReader();
  }

  /** For a body that nobody is going to read. */
  drop(): void {
    this.chunks.length = 0;
    this.bytes = 0;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (true) {
      if (this.broken) throw new BodyBroken();
      const chunk = this.chunks.shift();
      if (chunk !== undefined) {
        this.taken(chunk);
        yield chunk;
      } else if (this.ended) {
        return;
      } else {
        await this.more();
      }
    }
  }

  private taken(chunk: Uint8Array): void {
    const wasFull = this.isFull;
    this.bytes -= chunk.byteLength;
    if (wasFull && !this.isFull) this.options.onRoom();
  }

  private more(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.wake = resolve;
    this.options.onWanted();
    return promise;
  }

  private wakeReader(): void {
    this.wake?.();
    this.wake = undefined;
  }
}
