import { closeSync, mkdirSync, openSync, renameSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const maxLogBytes = 10 * 1024 * 1024;

/** A log that never takes more than twice 10 MB: when it is full it becomes `<path>.1` and a new one begins. */
export class LogFile {
  #fd: number;
  #bytes: number;

  constructor(readonly path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#fd = openSync(path, "a", 0o600);
    this.#bytes = statSync(path).size;
  }

  write(chunk: Uint8Array): void {
    if (this.#bytes + chunk.length > maxLogBytes) this.#rotate();
    writeSync(this.#fd, chunk);
    this.#bytes += chunk.length;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #rotate(): void {
    closeSync(this.#fd);
    renameSync(this.path, `${this.path}.1`);
    this.#fd = openSync(this.path, "a", 0o600);
    this.#bytes = 0;
  }
}
