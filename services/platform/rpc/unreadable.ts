/**
 * A message that cannot be read is its caller's fault. Of some of them (binary, gzip, base64) the runtime says "internal", which
 * would blame us, raise an alarm, and let anybody write error lines without a token.
 */
import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, type HandlerContext, type Interceptor } from "@connectrpc/connect";

/** To be called only with errors from reading a request. The error is on its way out, so it is changed and not replaced. */
export function blameCaller(error: ConnectError): void {
  if (error.code === Code.Internal) Object.assign(error, { code: Code.InvalidArgument });
}

/** Messages of streams are read while a handler runs: what goes wrong there is told from the handler's own errors. */
export const unreadableInterceptor: Interceptor = (next) => async (request) => {
  if (!request.stream) return await next(request);
  return await next({ ...request, message: readable(request.message) });
};

async function* readable<T>(messages: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    if (error instanceof ConnectError) blameCaller(error);
    throw error;
  }
}

/** The message of a GET stands in the query. The runtime throws an error of no known kind for one that is no base64. */
export function refuseBrokenQuery({ requestMethod, url }: HandlerContext): void {
  if (requestMethod !== "GET") return;
  const query = new URL(url).searchParams;
  if (query.get("base64") !== "1") return;
  try {
    base64Decode(query.get("message") ?? "");
  } catch (error) {
    throw new ConnectError("The message in the query is no base64.", Code.InvalidArgument, undefined, undefined, error);
  }
}
