import { RestError } from "./rest-error.ts";

/** A thousand campaigns, each under a name of its own, and every other parameter; room for as many again. */
const maxFields = 2_048;
/** In JSON a text may hold commas, too: the longest text with the longest links, and a thousand campaigns. */
const maxJsonCommas = 20_000;

/**
 * Counts what a parser would make of a small body, before one does: 256 KiB are 130,000 numbers in JSON, and take a
 * parser tens of milliseconds in which it answers nobody else.
 *
 * @throws RestError `func` if there are more than any call may have.
 */
export function checkFieldCount(contentType: string, bytes: Uint8Array): void {
  const type = contentType.split(";", 1)[0]!.trim().toLowerCase();
  if (type === "application/json") refuseMore(bytes, ",", maxJsonCommas);
  else if (type === "multipart/form-data") refuseMore(bytes, "\r\n--", maxFields);
  else refuseMore(bytes, "&", maxFields);
}

function refuseMore(bytes: Uint8Array, separator: string, max: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (let at = buffer.indexOf(separator); at >= 0; at = buffer.indexOf(separator, at + separator.length)) {
    count += 1;
    if (count > max) throw new RestError("func", "The request body has more values than any call takes.");
  }
}
