/** The audit log, a page at a time. It holds what all services have written. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AccountService,
  type ListAuditEntriesRequest,
  ListAuditEntriesResponseSchema,
} from "#gen/leadcast/account/v1/account_service_pb.ts";
import type { AuditEntrySchema } from "#gen/leadcast/account/v1/audit_pb.ts";
import { type AuditEntry, type AuditFilter, selectEntries } from "#services/core/audit/store.ts";
import type { Sql } from "#services/core/database/client.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { microsecondsFromTimestamp } from "#services/platform/rpc/time.ts";

const DEFAULT_PAGE = 100;

export function auditHandlers(sql: Sql): Pick<ServiceImpl<typeof AccountService>, "listAuditEntries"> {
  return {
    listAuditEntries: async (request) => {
      const filter = filterFromMessage(request);
      // One more than the page has: it says whether there is another.
      const found = await selectEntries(sql, { ...filter, limit: filter.limit + 1 });
      const page = found.slice(0, filter.limit);
      return create(ListAuditEntriesResponseSchema, {
        entries: page.map(entryToMessage),
        nextPageToken: found.length > page.length ? tokenFrom(page.at(-1)!) : "",
      });
    },
  };
}

function filterFromMessage(request: ListAuditEntriesRequest): AuditFilter {
  const { accountId, call, fromTime, toTime, pageSize, pageToken } = request;
  return {
    accountId: accountId === 0n ? undefined : Number(accountId),
    call,
    fromUs: fromTime && microsecondsFromTimestamp(fromTime, "from_time"),
    toUs: toTime && microsecondsFromTimestamp(toTime, "to_time"),
    before: pageToken === "" ? undefined : placeFrom(pageToken),
    limit: pageSize === 0 ? DEFAULT_PAGE : pageSize,
  };
}

function tokenFrom({ atUs, id }: AuditEntry): string {
  return Buffer.from(`${atUs} ${id}`).toString("base64url");
}

/** As `tokenFrom` writes it: 16 digits of microseconds reach beyond the year 2280. */
const PLACE = /^(\d{1,16}) ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

function placeFrom(token: string): { atUs: number; id: string } {
  const [, atUs, id] = PLACE.exec(Buffer.from(token, "base64url").toString("latin1")) ?? [];
  if (atUs !== undefined && id !== undefined) return { atUs: Number(atUs), id };
  const field = "page_token";
  throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: give it as the page before has returned it`, {
    field,
  });
}

function entryToMessage(entry: AuditEntry): MessageInitShape<typeof AuditEntrySchema> {
  const { token, session, call, objectKind, objectId, outcome, calls } = entry;
  return {
    time: timestampFromDate(new Date(entry.atUs / 1000)),
    address: entry.address ?? "",
    accountId: BigInt(entry.accountId ?? 0),
    changes: BigInt(entry.changes),
    ...{ token, session, call, objectKind, objectId, outcome, calls },
  };
}
