import { clientAddress, type TrustedProxies } from "#services/platform/client-address.ts";

/** A request does not know its connection; whoever takes it in notes the other end here. */
const peers = new WeakMap<Request, string>();

/** Notes the address at the other end of the connection that a request came over. */
export function notePeer(request: Request, address: string): void {
  peers.set(request, address);
}

/** Says who makes a request: see `clientAddress`. Empty where nobody has noted its peer. */
export function createAddressOf(trusted: TrustedProxies): (request: Request) => string {
  return (request) => clientAddress(peers.get(request) ?? "", request.headers.get("x-forwarded-for"), trusted);
}
