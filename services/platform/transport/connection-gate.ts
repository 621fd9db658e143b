import { addressBucket } from "../client-address.ts";
import type { TransportLimits } from "./limits.ts";

/** What the gate needs to know of a connection to let another one go in its place. */
export interface GatedConnection {
  /** Nothing of ours is under way on it: the next step is the peer's. */
  readonly awaitsPeer: boolean;
  destroy(): void;
}

/**
 * Counts the connections of each address. Where an address has too many, the one that has waited longest for its peer
 * makes room: silent connections crowd each other out, and nobody who shares their address (a proxy's other callers, the
 * gateway's) is shut out. A new one is refused only when all of them are being served.
 */
export interface ConnectionGate {
  /** Undefined when there is no room; otherwise what to call when the connection has ended. */
  admit(connection: GatedConnection, address: string): (() => void) | undefined;
  readonly size: number;
}

export function createConnectionGate(limits: TransportLimits): ConnectionGate {
  const byAddress = new Map<string, Set<GatedConnection>>();
  const all = new Set<GatedConnection>();

  function leave(connection: GatedConnection, key: string, own: Set<GatedConnection>): void {
    all.delete(connection);
    own.delete(connection);
    if (own.size === 0) byAddress.delete(key);
  }

  return {
    admit: (connection, address) => {
      const key = addressBucket(address);
      const own = byAddress.get(key) ?? new Set();
      if (own.size >= limits.connectionsPerAddress && !makeRoom(own)) return undefined;
      if (all.size >= limits.connections && !makeRoom(all)) return undefined;
      byAddress.set(key, own.add(connection));
      all.add(connection);
      return () => leave(connection, key, own);
    },
    get size() {
      return all.size;
    },
  };
}

/** Sets keep the order in which connections came: the oldest that waits for its peer goes. */
function makeRoom(connections: Set<GatedConnection>): boolean {
  for (const connection of connections) {
    if (!connection.awaitsPeer) continue;
    connections.delete(connection);
    connection.destroy();
    return true;
  }
  return false;
}
