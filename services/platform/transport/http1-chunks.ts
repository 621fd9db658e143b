/**
 * Takes the chunks of an HTTP/1.1 body apart.
 *
 * ```
 *  size ──► data ──► data-end ──► size …        a size of 0: ──► trailer ──► done
 * ```
 *
 * Every line is short and ends with CR LF. Extensions and trailers are passed over: nothing here means anything by them.
 */
export interface ChunkReader {
  /** Gives what the bytes hold of the body to `emit`, and how many of them belonged to it. Throws when it is none. */
  read(bytes: Buffer, emit: (part: Buffer) => void): number;
  readonly isDone: boolean;
}

/** Sizes are at most eight hexadecimal digits (4 GiB); a line with its extension is shorter than this. */
const maxLineBytes = 256;
/** Tiny chunks cost more to read than they carry: beyond so many they have to be of this size on average. */
const freeChunks = 10_000;
const meanChunkBytes = 16;
const maxTrailerBytes = 4 * 1024;
const sizeLine = /^([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?$/;

export class BrokenChunks extends Error {
  override readonly name = "BrokenChunks";
}

export function createChunkReader(): ChunkReader {
  let state: "size" | "data" | "data-end" | "trailer" | "done" = "size";
  let line = "";
  let left = 0;
  let trailerBytes = 0;
  let chunks = 0;
  let bodyBytes = 0;

  /** The line once its end has come; collects otherwise. */
  function takeLine(bytes: Buffer, from: number): { end: number; text?: string } {
    const newline = bytes.indexOf(10, from);
    const end = newline < 0 ? bytes.length : newline + 1;
    line += bytes.toString("latin1", from, end);
    if (line.length > maxLineBytes) throw new BrokenChunks("A line between chunks is too long.");
    if (newline < 0) return { end };
    if (!line.endsWith("\r\n")) throw new BrokenChunks("A line between chunks has no CR.");
    const text = line.slice(0, -2);
    line = "";
    return { end, text };
  }

  function lineRead(text: string): void {
    if (state === "size") {
      const size = sizeLine.exec(text)?.[1];
      if (size === undefined) throw new BrokenChunks("A chunk has no size.");
      left = Number.parseInt(size, 16);
      chunks += 1;
      bodyBytes += left;
      if (chunks > freeChunks + bodyBytes / meanChunkBytes) throw new BrokenChunks("The chunks are too small.");
      state = left === 0 ? "trailer" : "data";
    } else if (state === "data-end") {
      if (text !== "") throw new BrokenChunks("A chunk is longer than its size.");
      state = "size";
    } else {
      trailerBytes += text.length;
      if (trailerBytes > maxTrailerBytes) throw new BrokenChunks("The trailers are too long.");
      if (text === "") state = "done";
    }
  }

  return {
    read: (bytes, emit) => {
      let at = 0;
      while (at < bytes.length && state !== "done") {
        if (state === "data") {
          const part = bytes.subarray(at, at + left);
          emit(part);
          at += part.length;
          left -= part.length;
          if (left === 0) state = "data-end";
        } else {
          const { end, text } = takeLine(bytes, at);
          at = end;
          if (text !== undefined) lineRead(text);
        }
      }
      return at;
    },
    get isDone() {
      return state === "done";
    },
  };
}
