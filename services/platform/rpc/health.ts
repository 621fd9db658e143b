import type { DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { type Health, HealthCheckResponse_ServingStatus as Status } from "#gen/grpc/health/v1/health_pb.ts";
import type { Readiness } from "#services/platform/readiness.ts";

/**
 * grpc.health.v1.Health for a server. The overall status (empty name) and that of each service are the same: whether
 * the process can do its work. Check answers NOT_FOUND for an unknown name, Watch SERVICE_UNKNOWN; Watch sends the
 * status at once and then whenever it changes, until its caller leaves or the server stops.
 */
export function createHealth(services: readonly DescService[], readiness: Readiness): ServiceImpl<typeof Health> {
  const names = new Set(["", ...services.map((service) => service.typeName)]);
  const currentStatus = async () => statusOf(await readiness.isReady());
  return {
    async check({ service }) {
      if (!names.has(service)) throw new ConnectError(`There is no service ${JSON.stringify(service)}.`, Code.NotFound);
      return { status: await currentStatus() };
    },
    async *watch({ service }, { signal }) {
      const changes = createChanges();
      if (!readiness.watch(changes.put, signal)) {
        throw new ConnectError("Too many watch this server's health; ask again later.", Code.ResourceExhausted);
      }
      let sent: Status | undefined;
      signal.addEventListener("abort", changes.end, { once: true });
      if (signal.aborted) changes.end();
      for (let ready = await changes.next(); ready !== undefined; ready = await changes.next()) {
        const status = names.has(service) ? statusOf(ready) : Status.SERVICE_UNKNOWN;
        if (status !== sent) yield { status };
        sent = status;
      }
    },
    async list() {
      const status = await currentStatus();
      return { statuses: Object.fromEntries([...names].map((name) => [name, { status }])) };
    },
  };
}

function statusOf(ready: boolean): Status {
  return ready ? Status.SERVING : Status.NOT_SERVING;
}

/** The latest value, once for each time that it is put; a reader that is slow misses what was overtaken. */
function createChanges() {
  let latest: boolean | undefined;
  let ended = false;
  let wake = () => {};
  const put = (value: boolean) => {
    latest = value;
    wake();
  };
  const end = () => {
    ended = true;
    wake();
  };
  const next = async (): Promise<boolean | undefined> => {
    while (latest === undefined && !ended) {
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      await promise;
    }
    const value = ended ? undefined : latest;
    latest = undefined;
    return value;
  };
  return { put, end, next };
}
