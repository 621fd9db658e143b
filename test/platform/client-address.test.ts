import { describe, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import fc from "fast-check";
import { addressBucket, clientAddress, normalAddress, trustedProxiesVar } from "#services/platform/client-address.ts";
import { ConfigError, readConfig } from "#services/platform/config.ts";

const Environment = Type.Object({ TRUSTED_PROXIES: trustedProxiesVar });

function trusting(text: string) {
  return readConfig(Environment, { TRUSTED_PROXIES: text }).TRUSTED_PROXIES;
}

const ipv4 = fc.ipV4();
const ipv6 = fc.ipV6();
/** Addresses that no test trusts: documentation networks. */
const stranger = fc.oneof(
  fc.nat(255).map((n) => `203.0.113.${n}`),
  fc.nat(65_535).map((n) => `2001:db8:0:${n.toString(16)}:0:0:0:1`),
);
const garbage = fc.oneof(
  fc.string(),
  fc.constantFrom("unknown", "_hidden", "127.1", "0x7f.1", "999.1.1.1", "::g", "[::1", "10.0.0.1:99999999", " ", "-"),
);
const decorated = (address: string) =>
  address.includes(":")
    ? fc.constantFrom(address, `[${address}]`, `[${address}]:443`, ` ${address} `)
    : fc.constantFrom(address, `${address}:8080`, ` ${address}`, `::ffff:${address}`);

describe("clientAddress", () => {
  const proxies = trusting("10.0.0.0/8, 127.0.0.1, fd00::/8");

  test.each([
    // [peer, x-forwarded-for, who it is]
    ["203.0.113.5", null, "203.0.113.5"],
    ["203.0.113.5", "198.51.100.7", "203.0.113.5"],
    ["10.1.2.3", null, "10.1.2.3"],
    ["10.1.2.3", "", "10.1.2.3"],
    ["10.1.2.3", "198.51.100.7", "198.51.100.7"],
    ["10.1.2.3", "6.6.6.6, 198.51.100.7", "198.51.100.7"],
    ["10.1.2.3", "6.6.6.6, 198.51.100.7, 10.9.9.9", "198.51.100.7"],
    ["10.1.2.3", "10.4.4.4, 10.9.9.9", "10.4.4.4"],
    ["10.1.2.3", "198.51.100.7, unknown", "10.1.2.3"],
    ["10.1.2.3", "198.51.100.7,", "10.1.2.3"],
    ["10.1.2.3", "198.51.100.7:51234", "198.51.100.7"],
    ["10.1.2.3", "[2001:db8::1]:443", "2001:db8::1"],
    ["10.1.2.3", "2001:DB8:0:0::1", "2001:db8::1"],
    ["10.1.2.3", "::ffff:198.51.100.7", "198.51.100.7"],
    ["::ffff:10.1.2.3", "198.51.100.7", "198.51.100.7"],
    ["fd00::1", "fe80::7%eth0, fd00::2", "fe80::7"],
    ["", "198.51.100.7", ""],
    ["nonsense", "198.51.100.7", ""],
  ])("%s saying %p is %s", (peer, forwarded, expected) => {
    expect(clientAddress(peer, forwarded, proxies)).toBe(expected);
  });

  test("without trusted proxies is the peer, whatever the header says", () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), fc.string(), (peer, header) => {
        expect(clientAddress(peer, header, [])).toBe(normalAddress(peer)!);
      }),
    );
  });

  test("behind a proxy is whom the proxy saw, whatever the client has put before", () => {
    const chain = fc.tuple(fc.array(fc.oneof(ipv4, ipv6, garbage)), stranger, fc.array(fc.constant("10.7.7.7")));
    fc.assert(
      fc.property(
        chain.chain(([left, seen, hops]) =>
          fc.tuple(fc.constant(left), fc.constant(seen), decorated(seen), fc.constant(hops.slice(0, 5))),
        ),
        ([made, seen, written, hops]) => {
          const header = [...made, written, ...hops].join(", ");
          expect(clientAddress("10.0.0.1", header, proxies)).toBe(normalAddress(seen)!);
        },
      ),
    );
  });

  test("is an address or nothing, and never throws", () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, garbage), fc.array(fc.oneof(ipv4, ipv6, garbage)), (peer, hops) => {
        const address = clientAddress(peer, hops.join(","), proxies);
        expect(address === "" || normalAddress(address) === address).toBe(true);
      }),
    );
  });

  test("reads no more than the right end of an endless chain", () => {
    const endless = Array.from({ length: 100_000 }, () => "10.0.0.2").join(",");
    expect(clientAddress("10.0.0.1", `203.0.113.9,${endless}`, proxies)).toBe("10.0.0.2");
  });
});

describe("addressBucket", () => {
  test("is the /64 of an IPv6 address and an IPv4 address itself", () => {
    expect(addressBucket("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(addressBucket("2001:db8:1:2::")).toBe("2001:db8:1:2::/64");
    expect(addressBucket("::1")).toBe("0:0:0:0::/64");
    expect(addressBucket("203.0.113.5")).toBe("203.0.113.5");
    expect(addressBucket("")).toBe("");
  });

  test("is the same for a whole network and another one for its neighbour", () => {
    const part = fc.nat(65_535).map((n) => n.toString(16));
    const parts = (length: number) => fc.array(part, { minLength: length, maxLength: length });
    fc.assert(
      fc.property(parts(4), parts(4), parts(4), (network, one, other) => {
        const inside = (host: string[]) => addressBucket(normalAddress([...network, ...host].join(":"))!);
        fc.pre(network[0] !== "0");
        expect(inside(one)).toBe(inside(other));
        const neighbour = [...network.slice(0, 3), (Number.parseInt(network[3]!, 16) ^ 1).toString(16), ...one];
        expect(addressBucket(neighbour.join(":"))).not.toBe(inside(one));
      }),
    );
  });
});

describe("TRUSTED_PROXIES", () => {
  test("trusts nobody unless told", () => {
    expect(readConfig(Environment, {}).TRUSTED_PROXIES).toEqual([]);
  });

  test.each([
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "proxy.internal",
    "10.0.0.1,,10.0.0.2",
    "0.0.0.0/0",
    "::/0",
    "::ffff:10.0.0.0/104",
    "fd00::/129",
    "10.0.0.0/-1",
    "10.0.0.0/0x8",
  ])("refuses %s", (text) => {
    expect(() => trusting(text)).toThrow(ConfigError);
    expect(() => trusting(text)).toThrow(/^TRUSTED_PROXIES: entry \d/);
  });

  test("takes single addresses and networks with bits behind their prefix", () => {
    expect(clientAddress("192.0.2.4", "203.0.113.1", trusting("192.0.2.4"))).toBe("203.0.113.1");
    expect(clientAddress("192.0.2.5", "203.0.113.1", trusting("192.0.2.4"))).toBe("192.0.2.5");
    expect(clientAddress("192.0.2.5", "203.0.113.1", trusting("192.0.2.77/24"))).toBe("203.0.113.1");
    expect(clientAddress("fd12::9", "203.0.113.1", trusting("fd00::1/8"))).toBe("203.0.113.1");
  });
});
