/** The floor of REST: one process, Elysia and postgres.js, the same SQL and the same replies, and no RPC in between. */
import { Elysia } from "elysia";
import { hashSessionToken } from "#services/account/account.ts";
import { selectSession } from "#services/account/session-store.ts";
import { getQuota } from "#services/broadcast/quota.ts";
import { type BroadcastView, getBroadcast, type ListedBroadcast, listBroadcasts } from "#services/broadcast/view.ts";
import { createDatabase } from "#services/core/database/client.ts";
import { loadEntitlement } from "#services/core/entitlement/entitlement.ts";
import { answerParent, childOptions } from "../child.ts";

const { databaseUrl } = childOptions<{ databaseUrl: string }>();
const { sql, close } = createDatabase({ url: databaseUrl, applicationName: "bench-floor" });

/** What the gateway asks for, and what the broadcast service asks again: both read who may do what. */
async function accountOf(authorization: string | undefined): Promise<number> {
  const session = await selectSession(sql, hashSessionToken((authorization ?? "").slice("Bearer ".length)));
  const entitlement = session && (await loadEntitlement(sql, session.accountId));
  if (!entitlement?.paid) throw new Error("unpaid");
  return session!.accountId;
}

function unix(moment: Date | null): number {
  return moment ? Math.floor(moment.getTime() / 1000) : 0;
}

function toListed(view: ListedBroadcast) {
  const { id, name, state, statuses, campaignIds, total, counters } = view;
  const { sent, queued, failed } = counters;
  const times = { started: unix(view.startedAt), created: unix(view.createdAt) };
  return { id, name, status: state, statuses, campaigns: campaignIds, total, sent, queued, failed, ...times };
}

function toWhole(view: BroadcastView) {
  const { text, media, mediaType: media_type, button, link, remaining } = view;
  const windows = {
    created_from: unix(view.createdFrom),
    created_to: unix(view.createdTo),
    status_from: unix(view.statusFrom),
    status_to: unix(view.statusTo),
  };
  return { ...toListed(view), ...windows, text, media, media_type, button, link, remaining };
}

const ok = (data: unknown) => ({ status: "ok", data });

const app = new Elysia()
  .get("/api/broadcast/get.json", async ({ headers, query }) =>
    ok(toWhole(await getBroadcast(sql, await accountOf(headers.authorization), Number(query.id)))),
  )
  .get("/api/broadcast/list.json", async ({ headers }) =>
    ok((await listBroadcasts(sql, await accountOf(headers.authorization))).broadcasts.map(toListed)),
  )
  .get("/api/broadcast/quota.json", async ({ headers }) =>
    ok(await getQuota(sql, await accountOf(headers.authorization))),
  )
  .listen({ hostname: "127.0.0.1", port: 0 });

answerParent({ url: () => `http://127.0.0.1:${app.server!.port}` }, async () => {
  await app.stop();
  await close();
});
