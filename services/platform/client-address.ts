/**
 * The address of whoever makes a request, as throttles and the audit log count it. Texts only: every form of one address
 * (`::ffff:192.0.2.1`, `[2001:DB8:0::1]:443`) becomes the same text, so that nobody gets a second account of tries by
 * writing itself differently.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { parsedVar } from "./config.ts";

/** Networks whose word on `x-forwarded-for` is believed. */
export type TrustedProxies = readonly Network[];
type Network = [address: ipaddr.IPv4 | ipaddr.IPv6, prefixBits: number];

/** A chain is read from its right end and no further than this: what stands beyond comes from strangers anyway. */
const maxHops = 32;

/** One text for each address; undefined for what is none. Takes a port, brackets and a zone, as proxies write them. */
export function normalAddress(text: string): string | undefined {
  return parseAddress(text)?.toString();
}

/** The same few addresses call again and again, and the library takes some microseconds for each. */
const parsedBefore = new Map<string, ipaddr.IPv4 | ipaddr.IPv6 | undefined>();
const maxParsed = 2_000;
/** The longest form of an address with zone, brackets and port. */
const maxTextLength = 96;

function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  if (text.length > maxTextLength) return undefined;
  if (parsedBefore.has(text)) return parsedBefore.get(text);
  if (parsedBefore.size >= maxParsed) parsedBefore.clear();
  const address = parsedAddress(text);
  parsedBefore.set(text, address);
  return address;
}

function parsedAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const bare = withoutZone(withoutPort(text.trim()));
  // The library alone would take `127.1`, `0x7f.1` and the like.
  return isIP(bare) === 0 ? undefined : ipaddr.process(bare);
}

function withoutPort(text: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text);
  if (bracketed !== null) return bracketed[1]!;
  return /^([^:]+):\d{1,5}$/.exec(text)?.[1] ?? text;
}

function withoutZone(text: string): string {
  return text.includes(":") ? text.replace(/%[\w.-]{1,32}$/, "") : text;
}

/**
 * Who makes a request: its peer, or, where the peer is a trusted proxy, the right-most address of `x-forwarded-for` that
 * is not one. Only that one was written by somebody whom we trust; whatever stands left of it the client may have made
 * up. Where a trusted proxy names no address at all, the proxy itself is counted.
 *
 * @returns one text for each address; empty where the peer is not known.
 */
export function clientAddress(peer: string, forwardedFor: string | null, trusted: TrustedProxies): string {
  let client = parseAddress(peer);
  if (client === undefined) return "";
  const hops = (forwardedFor ?? "").split(",").slice(-maxHops);
  while (isTrusted(client, trusted)) {
    const next = parseAddress(hops.pop() ?? "");
    if (next === undefined) break;
    client = next;
  }
  return client.toString();
}

function isTrusted(address: ipaddr.IPv4 | ipaddr.IPv6, trusted: TrustedProxies): boolean {
  return trusted.some((network) => network[0].kind() === address.kind() && address.match(network as [never, number]));
}

/** An IPv6 customer has a network of 2^64 addresses, and would otherwise have as many accounts of tries. */
const ipv6NetworkParts = 4;

/** What a throttle counts an address under: an IPv4 address by itself, an IPv6 address with its whole /64. */
export function addressBucket(address: string): string {
  const parsed = parseAddress(address);
  if (!(parsed instanceof ipaddr.IPv6)) return address;
  const network = parsed.parts.slice(0, ipv6NetworkParts).map((part) => part.toString(16));
  return `${network.join(":")}::/64`;
}

/** TRUSTED_PROXIES: addresses and networks with commas between them. Empty: nobody is believed. */
export const trustedProxiesVar = parsedVar<TrustedProxies>(
  "addresses and networks like 10.0.0.0/8,2001:db8::/32, with commas between them",
  (text) => {
    const networks: Network[] = [];
    for (const [index, entry] of text.split(",").entries()) {
      const network = networkFrom(entry.trim());
      if (typeof network === "string") return { wrong: `entry ${index + 1} ${network}` };
      networks.push(network);
    }
    return { value: networks };
  },
  { default: [] },
);

function networkFrom(entry: string): Network | string {
  const [address = "", prefix, ...rest] = entry.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return "is no address and no network";
  const bits = family === 4 ? 32 : 128;
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (!(length <= bits)) return `has a prefix that is not from 1 to ${bits}`;
  if (length === 0) return "is everybody: anyone could choose the address that is counted";
  const parsed = ipaddr.process(address);
  if (parsed.kind() === "ipv4" && family === 6) return "is an IPv4 network in IPv6 clothes: write it as IPv4";
  return [parsed, length];
}
