import type { Socket } from "node:net";
import { Duplex } from "node:stream";

/**
 * A socket whose bytes are looked at before anybody reads them. An HTTP/2 engine that gets the socket itself reads it
 * natively: a listener of ours beside it sees the first bytes and none of those that follow (seen on Bun 1.4.5).
 */
export class GuardedSocket extends Duplex {
  /** `look` says whether the bytes may go on; it ends the connection where they may not. */
  constructor(
    private readonly socket: Socket,
    look: (bytes: Buffer) => boolean,
  ) {
    super({ allowHalfOpen: true });
    socket.on("data", (bytes: Buffer) => {
      if (look(bytes) && !this.push(bytes)) socket.pause();
    });
    socket.once("close", () => this.destroy());
  }

  get remoteAddress(): string | undefined {
    return this.socket.remoteAddress;
  }

  get encrypted(): boolean {
    return "encrypted" in this.socket;
  }

  override _read(): void {
    this.socket.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.socket.destroyed || this.socket.write(bytes)) done();
    else this.socket.once("drain", done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    const bytes = chunks.length === 1 ? chunks[0]!.chunk : Buffer.concat(chunks.map(({ chunk }) => chunk));
    if (this.socket.destroyed || this.socket.write(bytes)) done();
    else this.socket.once("drain", done);
  }

  override _final(done: () => void): void {
    this.socket.end();
    done();
  }

  override _destroy(_error: Error | null, done: (error?: Error | null) => void): void {
    // What has been written still goes out, a goodbye most often.
    this.socket.destroySoon();
    done();
  }
}
