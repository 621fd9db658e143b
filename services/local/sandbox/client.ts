import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { type ControlCall, controlParameters, controlPrefix, type SandboxControl } from "./control.ts";
import type { Addresses } from "./control-routes.ts";
import { invalid } from "./settings.ts";

/**
 * The controls of a sandbox in another process. `url` is its Bot API's address, or its control address. Besides what the
 * control refuses, calls throw DomainError UNAVAILABLE when the sandbox does not answer.
 */
export function createSandboxClient(url: string): SandboxControl {
  let base = url.replace(/\/+$/, "");

  async function request(name: string, init?: RequestInit): Promise<Response> {
    const reply = await fetch(base + controlPrefix + name, init).catch((cause: unknown) => {
      throw new DomainError(ErrorReason.UNAVAILABLE, `No sandbox answers at ${base}.`, { cause });
    });
    if (reply.ok) return reply;
    const { error } = (await reply.json().catch(() => ({}))) as { error?: string };
    if (reply.status === 400) throw invalid(error ?? "The sandbox refused the call.", name);
    throw new DomainError(ErrorReason.UNAVAILABLE, error ?? `The sandbox answered ${reply.status}.`);
  }

  async function call(name: ControlCall, values: readonly unknown[]): Promise<unknown> {
    // From here on the address that keeps listening is used for everything.
    if (name === "listen") base = ((await (await request("address")).json()) as Addresses).controlUrl;
    const given = controlParameters[name].map((parameter, at) => [parameter.replace("?", ""), values[at]]);
    const body = JSON.stringify(Object.fromEntries(given));
    const result: unknown = await (await request(name, { method: "POST", body })).json();
    return result ?? undefined;
  }

  const names = Object.keys(controlParameters) as ControlCall[];
  const calls = names.map((name) => [name, (...values: unknown[]) => call(name, values)]);
  const exportLines: SandboxControl["exportLines"] = async () => (await request("export.jsonl")).body!;
  return Object.assign(Object.fromEntries(calls), { exportLines }) as SandboxControl;
}
