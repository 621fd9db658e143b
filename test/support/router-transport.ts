import { type ConnectRouter, createRouterTransport, type Interceptor, type Transport } from "@connectrpc/connect";
import { createValidateInterceptor } from "@connectrpc/validate";
import { createLogger } from "#services/platform/log.ts";
import { domainErrorInterceptor } from "#services/platform/rpc/errors.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";

/** Calls handlers in this process, through the interceptors of the real server and in its order. */
export function createServiceTransport(
  routes: (router: ConnectRouter) => void,
  interceptors: Interceptor[] = [],
): Transport {
  const log = createLogger({ service: "test", level: "silent" });
  return createRouterTransport(routes, {
    router: {
      interceptors: [domainErrorInterceptor(log), ...interceptors, storableInterceptor, createValidateInterceptor()],
    },
  });
}
