/** What a server said on an HTTP/1 connection, read without mercy: a byte too many or too few fails. */
export interface Http1Reply {
  readonly status: number;
  readonly header: Headers;
  readonly body: string;
}

/** `heads`: the positions of those replies that answer HEAD and have no body. */
export function http1Replies(bytes: Buffer, heads: ReadonlySet<number> = new Set()): Http1Reply[] {
  const replies: Http1Reply[] = [];
  let rest = bytes.toString("latin1");
  while (rest !== "") {
    const { reply, after } = readReply(rest, heads.has(replies.length));
    replies.push(reply);
    rest = after;
  }
  return replies;
}

function readReply(text: string, isHead: boolean): { reply: Http1Reply; after: string } {
  const end = text.indexOf("\r\n\r\n");
  const [line, ...fields] = text.slice(0, end).split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3}) [\w' -]*$/.exec(line!)?.[1]);
  if (end < 0 || Number.isNaN(status)) throw new Error(`no reply: ${JSON.stringify(text.slice(0, 200))}`);
  const header = new Headers(fields.map((field) => field.split(/: (.*)/s).slice(0, 2) as [string, string]));
  const rest = text.slice(end + 4);
  if (isHead || status < 200 || status === 204) return { reply: { status, header, body: "" }, after: rest };
  if (header.get("transfer-encoding") === "chunked") return readChunks(status, header, rest);
  const length = Number(header.get("content-length") ?? rest.length);
  if (rest.length < length) throw new Error(`a body of ${length} bytes has ${rest.length}`);
  return { reply: { status, header, body: rest.slice(0, length) }, after: rest.slice(length) };
}

function readChunks(status: number, header: Headers, text: string): { reply: Http1Reply; after: string } {
  let body = "";
  let rest = text;
  for (;;) {
    const size = /^([0-9a-f]+)\r\n/.exec(rest);
    if (size === null) throw new Error(`no chunk: ${JSON.stringify(rest.slice(0, 100))}`);
    const length = Number.parseInt(size[1]!, 16);
    const data = rest.slice(size[0].length, size[0].length + length);
    rest = rest.slice(size[0].length + length + 2);
    if (length === 0) return { reply: { status, header, body }, after: rest };
    body += data;
  }
}
