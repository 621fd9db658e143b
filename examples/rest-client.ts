/**
 * A typed client of the REST API, and one broadcast made with it: create, edit, start, wait until it is done.
 *
 *     npm start                                  # in another terminal; prints the session's token
 *     LEADCAST_SESSION=<token> npx bun examples/rest-client.ts
 *
 * | variable           | default                 |                                          |
 * | LEADCAST_URL       | http://127.0.0.1:8080   | the gateway                              |
 * | LEADCAST_SESSION   |                         | the session's token; required            |
 * | LEADCAST_CAMPAIGNS | (empty)                 | campaign ids with commas; empty is all   |
 *
 * The client needs nothing but `fetch`: copy `createRestClient` and what stands above it into a project of your own.
 */

/** Why a call was refused. Build on these; the message is for people and may change. */
export type RestCode = "key" | "unpaid" | "func" | "access" | "broadcasts" | "state" | "db" | "telegram" | "limit";

/** A refusal. `db` and `limit` pass by themselves: try again a little later. */
export class RestError extends Error {
  override readonly name = "RestError";

  constructor(
    readonly code: RestCode,
    message: string,
  ) {
    super(message);
  }
}

/** 0 draft, 1 running, 2 done, 3 cancelled, 4 paused. */
export type BroadcastStatus = 0 | 1 | 2 | 3 | 4;

/** What `edit` replaces. Whatever is left out becomes empty: send all that shall stay. */
export interface BroadcastFields {
  name?: string;
  /** The sum of 1 wait, 2 hold, 4 approve, 8 cancel, 16 trash. */
  statuses: number;
  /** Campaign ids; none means all. */
  campaigns?: readonly number[];
  /** Unix seconds, inclusive; 0 for no bound. */
  created_from?: number;
  created_to?: number;
  status_from?: number;
  status_to?: number;
  /** Telegram's legacy Markdown, with macros such as {user}. */
  text?: string;
  media?: string;
  media_type?: 0 | 1 | 2;
  button?: string;
  link?: string;
}

export interface Progress {
  status: BroadcastStatus;
  sent: number;
  queued: number;
  failed: number;
  /** Of failed: those of which nobody can say whether they were accepted. */
  unconfirmed: number;
  dropped: number;
  /** Why the system paused it by itself; empty if it did not. */
  pause_reason: string;
  waiting: { reason: string; bot: number; until: number; message: string }[];
  /** Messages per second over the last ten seconds. */
  rate: number;
  /** Seconds that are left at this rate; null where that cannot be said. */
  eta: number | null;
}

/** The day's limit: `cap` 0 is unlimited. */
export interface Quota {
  cap: number;
  used: number;
  queued: number;
}

export interface RestClientOptions {
  /** Of the gateway, such as `http://127.0.0.1:8080`. */
  baseUrl: string;
  session: string;
  /** For one call; default 30,000. */
  timeoutMs?: number;
}

export type RestClient = ReturnType<typeof createRestClient>;

/** Every method throws RestError when the call is refused, and what `fetch` throws when the gateway is not reached. */
export function createRestClient({ baseUrl, session, timeoutMs = 30_000 }: RestClientOptions) {
  async function call<T>(path: string, form?: Record<string, string>): Promise<T> {
    const reply = await fetch(new URL(`/api/${path}`, baseUrl), {
      headers: { authorization: `Bearer ${session}` },
      signal: AbortSignal.timeout(timeoutMs),
      ...(form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) }),
    });
    // HTTP says 200 for refusals too: the outcome is in the body.
    const body = (await reply.json()) as Envelope<T>;
    if (body.status === "error") throw new RestError(body.error, body.message);
    return body.data;
  }
  const act = (action: string, id: number) => call<void>(`broadcast/${action}.json`, { id: String(id) });

  return {
    quota: () => call<Quota>("broadcast/quota.json"),
    /** @returns the id of a new, empty draft. */
    add: async (name: string) => (await call<{ id: number }>("broadcast/add.json", { name })).id,
    edit: (id: number, fields: BroadcastFields) => call<void>("broadcast/edit.json", formOf({ id, ...fields })),
    /** @returns how many messages were queued; 0 means that there is nobody new to reach. */
    start: async (id: number) => (await call<{ queued: number }>("broadcast/start.json", { id: String(id) })).queued,
    pause: (id: number) => act("pause", id),
    resume: (id: number) => act("resume", id),
    cancel: (id: number) => act("cancel", id),
    progress: (id: number) => call<Progress>(`broadcast/progress.json?id=${id}`),
  };
}

type Envelope<T> = { status: "ok"; data: T } | { status: "error"; error: RestCode; message: string };

function formOf(fields: object): Record<string, string> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  // A list of ids becomes "12,18".
  return Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
}

const running = 1;
const pollIntervalMs = 1_000;

/** Asks once a second until the broadcast is not running any more: done, or paused or cancelled by somebody. */
export async function waitUntilDone(
  client: RestClient,
  id: number,
  onProgress: (progress: Progress) => void,
): Promise<Progress> {
  for (;;) {
    const progress = await client.progress(id);
    onProgress(progress);
    if (progress.status !== running) return progress;
    await new Promise((resolve) => setTimeout(resolve, pollIntervalMs));
  }
}

async function main(): Promise<void> {
  const client = createRestClient({
    baseUrl: process.env.LEADCAST_URL || "http://127.0.0.1:8080",
    session: process.env.LEADCAST_SESSION ?? "",
  });
  const campaigns = (process.env.LEADCAST_CAMPAIGNS ?? "").split(",").filter(Boolean).map(Number);
  const id = await client.add("From the REST example");
  await client.edit(id, {
    name: "From the REST example",
    statuses: 31,
    campaigns,
    text: "Hello {user}, *20% off* until Sunday",
    button: "Claim",
    link: "https://example.com/back?click={click}",
  });
  console.log(`broadcast ${id}: ${await client.start(id)} messages queued`);
  const end = await waitUntilDone(client, id, ({ sent, queued }) => {
    console.log(`sent ${sent}, queued ${queued}`);
  });
  const { cap, used } = await client.quota();
  console.log(`ended with status ${end.status}: sent ${end.sent}, failed ${end.failed}, dropped ${end.dropped}`);
  console.log(`used today: ${used} of ${cap === 0 ? "as many as you like" : cap}`);
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    console.error(error instanceof RestError ? `refused (${error.code}): ${error.message}` : error);
    process.exitCode = 1;
  });
}
