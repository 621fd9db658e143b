import { clientAddress, type TrustedProxies } from "#services/platform/client-address.ts";
import { addressOf } from "#services/platform/transport/fetch-handler.ts";

/** Says who makes a request: see `clientAddress`. Empty where it did not come in on a port. */
export function createAddressOf(trusted: TrustedProxies): (request: Request) => string {
  return (request) => clientAddress(addressOf(request) ?? "", request.headers.get("x-forwarded-for"), trusted);
}
