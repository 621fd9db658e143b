import type { DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { type Health, HealthCheckResponse_ServingStatus as Status } from "#gen/grpc/health/v1/health_pb.ts";
import { systemClock } from "./clock.ts";

/** How often a watched status is looked at; a balancer that watches learns of a change this late at most. */
const watchIntervalMs = 1_000;

/**
 * grpc.health.v1.Health for a server. The overall status (empty name) and that of each service are the same: whether
 * the process can do its work. Check answers NOT_FOUND for an unknown name, Watch SERVICE_UNKNOWN; Watch sends the
 * status at once and then whenever it changes, until its caller leaves or the server stops.
 */
export function createHealth(
  services: readonly DescService[],
  isReady: () => Promise<boolean>,
): ServiceImpl<typeof Health> {
  const names = new Set(["", ...services.map((service) => service.typeName)]);
  const currentStatus = async () => ((await isReady()) ? Status.SERVING : Status.NOT_SERVING);
  return {
    async check({ service }) {
      if (!names.has(service)) throw new ConnectError(`There is no service ${JSON.stringify(service)}.`, Code.NotFound);
      return { status: await currentStatus() };
    },
    async *watch({ service }, { signal }) {
      let sent: Status | undefined;
      while (!signal.aborted) {
        const status = names.has(service) ? await currentStatus() : Status.SERVICE_UNKNOWN;
        if (status !== sent) yield { status };
        sent = status;
        await systemClock.sleep(watchIntervalMs, signal);
      }
    },
    async list() {
      const status = await currentStatus();
      return { statuses: Object.fromEntries([...names].map((name) => [name, { status }])) };
    },
  };
}
