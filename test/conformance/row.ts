import { expect } from "bun:test";
import type { Api } from "./api.ts";
import { type Customer, type CustomerOptions, createCustomer } from "./customer.ts";
import { dumpOf } from "./dump.ts";
import { createRestApi } from "./rest-api.ts";
import { createRpcApi } from "./rpc-api.ts";
import type { Stack } from "./stack.ts";

/** One statement, as a scenario that ends in its proof. */
export interface Row {
  /** What the statement says, in our words. */
  says: string;
  given?: CustomerOptions;
  when(scene: Scene): Promise<void>;
}

export interface Scene {
  api: Api;
  customer: Customer;
  stack: Stack;
  /** The same kind of calls for another customer of the same system. */
  other(options?: CustomerOptions): Promise<{ api: Api; customer: Customer }>;
}

/** Statements by the part of the reference or contract that they come from. */
export interface Section {
  from: string;
  rows: Row[];
}

type Kind = Api["kind"];

/**
 * Runs a row by REST and by RPC, each on an account of its own: both must see the statement hold, get the same replies and
 * refusals call by call, and leave the same rows behind.
 */
export async function proveRow(stack: Stack, row: Row): Promise<void> {
  const [rest, rpc] = await Promise.all([runRow(stack, row, "REST"), runRow(stack, row, "RPC")]);
  expect(rpc.transcript, "replies by RPC beside those by REST").toEqual(rest.transcript);
  expect(rpc.dump, "rows left by RPC beside those left by REST").toEqual(rest.dump);
}

async function runRow(stack: Stack, row: Row, kind: Kind) {
  const { api, customer } = await enter(stack, kind, row.given);
  await row.when({ api, customer, stack, other: (options) => enter(stack, kind, options) });
  return { transcript: api.transcript, dump: await dumpOf(stack.sql, customer.accountId) };
}

async function enter(stack: Stack, kind: Kind, options?: CustomerOptions) {
  const customer = await createCustomer(stack, options);
  const { session, accountId } = customer;
  const api = kind === "REST" ? createRestApi(stack.gateway, session) : createRpcApi(stack.customer, accountId);
  return { api, customer };
}
