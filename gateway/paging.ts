/**
 * Lists whose replies have no end but an amount: services give them in pages, so that none takes a process for long, and
 * REST gives them whole unless it is asked for a page.
 */
import { JsonList } from "./json-list.ts";
import { id, integer, optional, type Values } from "./params.ts";

/** As many broadcasts or campaigns as an account may have. */
const maxLimit = 10_000;
/** What one page of a service has at most. */
const servicePage = 250;

export function pageParams(what: string) {
  return {
    limit: optional(integer(`At most so many ${what}; without it all.`, { minimum: 1, maximum: maxLimit })),
    before: optional(id(`Only ${what} with a smaller id: the last one of the page before.`)),
  };
}

type Wanted = Values<ReturnType<typeof pageParams>>;

interface PageRequest {
  readonly limit: number;
  readonly beforeId: bigint;
}

interface ServicePage {
  readonly items: readonly unknown[];
  readonly nextBeforeId: bigint;
}

/** Asks for pages until there are as many items as are wanted, or no more. */
export async function gathered(
  { limit = Number.POSITIVE_INFINITY, before = 0n }: Wanted,
  readPage: (request: PageRequest) => Promise<ServicePage>,
): Promise<JsonList> {
  const list = new JsonList();
  let beforeId = before;
  do {
    const page = await readPage({ limit: Math.min(servicePage, limit - list.length), beforeId });
    list.add(page.items);
    beforeId = page.nextBeforeId;
  } while (beforeId !== 0n && list.length < limit);
  return list;
}
