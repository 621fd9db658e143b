/** Form data with one file, of a length that is known before its first byte is read. */
import { randomUUID } from "node:crypto";

export interface FormFile {
  field: string;
  fileName: string;
  mimeType: string;
  /** In bytes. */
  size: number;
  open: () => AsyncIterable<Uint8Array>;
}

export interface Form {
  contentType: string;
  length: number;
  /** The fields and the file's first piece. */
  start: Uint8Array;
  rest: AsyncIterable<Uint8Array>;
}

/**
 * Reads the file's first piece: a file that cannot be read at all fails here, before anything is written. One that turns
 * out to be longer or shorter than its size fails in `rest`.
 */
export async function formOf(fields: Readonly<Record<string, string>>, file: FormFile): Promise<Form> {
  const boundary = `leadcast-${randomUUID()}`;
  const preamble = Buffer.from(preambleOf(boundary, fields, file));
  const ending = Buffer.from(`\r\n--${boundary}--\r\n`);
  const pieces = checked(file)[Symbol.asyncIterator]();
  const first = await pieces.next();
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    length: preamble.length + file.size + ending.length,
    start: Buffer.concat([preamble, first.value ?? Buffer.alloc(0)]),
    rest: restOf(pieces, ending),
  };
}

function preambleOf(boundary: string, fields: Readonly<Record<string, string>>, file: FormFile): string {
  const parts = Object.entries(fields).map(
    ([name, value]) => `--${boundary}\r\ncontent-disposition: form-data; name="${quoted(name)}"\r\n\r\n${value}\r\n`,
  );
  const disposition = `form-data; name="${quoted(file.field)}"; filename="${quoted(file.fileName)}"`;
  const head = `--${boundary}\r\ncontent-disposition: ${disposition}\r\ncontent-type: ${file.mimeType}\r\n\r\n`;
  return parts.join("") + head;
}

/** As browsers write a name: what would end it or its line is percent-encoded. */
function quoted(name: string): string {
  return name.replace(/[\r\n"]/g, (letter) => encodeURIComponent(letter));
}

async function* checked({ size, open }: FormFile): AsyncGenerator<Uint8Array, void> {
  let left = size;
  for await (const piece of open()) {
    left -= piece.length;
    if (left < 0) break;
    yield piece;
  }
  if (left !== 0) throw new Error(`A media file is not of the ${size} bytes that are told of it.`);
}

async function* restOf(pieces: AsyncIterator<Uint8Array, void>, ending: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield next.value;
  yield ending;
}
