/**
 * The multipart body of an upload, taken apart while it comes: what is refused is refused at once, and a file is in memory
 * once. Small forms in multipart are read whole (form.ts).
 */
import { once } from "node:events";
import { Busboy, type BusboyInstance } from "@fastify/busboy";
import { type BodyLimits, bodyChunks } from "./body.ts";
import { addValue, type Form, type FormValue, partWithoutName } from "./form.ts";
import { RestError } from "./rest-error.ts";

/** One file, and what browsers and libraries like to put beside it. */
const limits = { parts: 16, files: 4, fields: 12, fieldSize: 4_096, headerPairs: 32, headerSize: 8_192 } as const;

/** What is parsed before somebody looks whether it is refused: a few hundred of the smallest parts. */
const pieceBytes = 16 * 1024;

/**
 * @throws RestError `func` if the body is no multipart, broken, has too many parts, or breaks one of `bodyChunks`' limits.
 */
export async function readUpload(request: Request, body: BodyLimits): Promise<Form> {
  const parser = parserOf(request.headers.get("content-type") ?? "");
  const parts = collect(parser);
  try {
    for await (const chunk of bodyChunks(request, body)) {
      for (const piece of piecesOf(chunk)) {
        if (!parser.write(piece)) await Promise.race([once(parser, "drain"), parts.finished]);
        if (parts.failure !== undefined) throw parts.failure;
      }
    }
    parser.end();
    return await parts.finished;
  } finally {
    parser.destroy();
  }
}

function* piecesOf(chunk: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < chunk.byteLength; at += pieceBytes) yield chunk.subarray(at, at + pieceBytes);
}

function parserOf(contentType: string): BusboyInstance {
  if (!/^multipart\/form-data\s*(;|$)/i.test(contentType)) {
    throw new RestError("func", "Send the file as multipart/form-data.");
  }
  try {
    return new Busboy({ headers: { "content-type": contentType }, limits });
  } catch (cause) {
    throw broken(cause);
  }
}

interface Parts {
  /** Gives the form when the last part has ended. */
  readonly finished: Promise<Form>;
  /** Set as soon as the body is refused. */
  failure: RestError | undefined;
}

function collect(parser: BusboyInstance): Parts {
  const form = new Map<string, FormValue>();
  const { promise, resolve, reject } = Promise.withResolvers<Form>();
  const parts: Parts = { finished: promise, failure: undefined };
  const refuse = (failure: RestError) => {
    parts.failure ??= failure;
    reject(failure);
  };
  const fail = (cause: unknown) => refuse(broken(cause));
  const tooMany = () => refuse(new RestError("func", `The request body has more than ${limits.parts} parts.`));
  const add = (name: string | undefined, value: FormValue) => {
    if (name === undefined || name === "") refuse(partWithoutName());
    else addValue(form, name, value);
  };
  // Whoever waits for it may have left because of another error.
  promise.catch(() => {});
  parser.on("file", (name, stream) => {
    const chunks: Buffer<ArrayBuffer>[] = [];
    stream.on("data", (chunk: Buffer<ArrayBuffer>) => chunks.push(chunk));
    stream.on("end", () => add(name, { kind: "file", file: new Blob(chunks) }));
    // Without a listener an error of a part would end the process.
    stream.on("error", fail);
  });
  parser.on("field", (name, text, _, cut) =>
    add(name, cut ? { kind: "other", what: "a long text" } : { kind: "text", text }),
  );
  for (const event of ["partsLimit", "filesLimit", "fieldsLimit"] as const) parser.on(event, tooMany);
  parser.on("error", fail);
  parser.on("finish", () => resolve(form));
  return parts;
}

function broken(cause: unknown): RestError {
  return new RestError("func", "The request body is not valid multipart/form-data.", { cause });
}
