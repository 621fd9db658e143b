/** What answers in the Bot API's place when something between us is broken: each quotes the URL, as proxies do. */

export type FaultyAnswer = "garbage" | "redirect" | "page" | "quoted";

export interface FaultyBotApi {
  readonly url: string;
  readonly port: number;
  answer: FaultyAnswer;
  /** Requests by their Bot API method. */
  readonly calls: Map<string, number>;
  stop(): Promise<void>;
}

const ANSWERS: Record<FaultyAnswer, (url: URL) => Response> = {
  garbage: (url) => new Response(`{"ok":true,"result":{"message_id":1}} and then ${url.pathname}`),
  redirect: (url) => Response.redirect(`${url.origin}/elsewhere${url.pathname}`, 302),
  page: (url) =>
    new Response(`<html><body><h1>502 Bad Gateway</h1>The address ${url.href} cannot be reached.</body></html>`, {
      status: 502,
      headers: { "content-type": "text/html", "x-requested": url.pathname },
    }),
  // A Bot API server of one's own behind a proxy that speaks its language.
  quoted: (url) => {
    const description = `Bad Gateway: no answer to POST ${url.href}`;
    return Response.json({ ok: false, error_code: 502, description }, { status: 502 });
  },
};

export function startFaultyBotApi(): FaultyBotApi {
  const calls = new Map<string, number>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const url = new URL(request.url);
      const method = url.pathname.split("/").at(-1) ?? "";
      calls.set(method, (calls.get(method) ?? 0) + 1);
      return ANSWERS[api.answer](url);
    },
  });
  const api: FaultyBotApi = {
    url: `http://127.0.0.1:${server.port}`,
    port: server.port!,
    answer: "garbage",
    calls,
    stop: () => server.stop(true),
  };
  return api;
}
