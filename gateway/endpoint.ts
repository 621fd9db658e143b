import type { CallOptions } from "@connectrpc/connect";
import type { TSchema } from "@sinclair/typebox";
import type { GatewayClients } from "./clients.ts";
import type { Form } from "./form.ts";
import { type Params, readParams, type Values } from "./params.ts";
import type { RestCode } from "./rest-error.ts";

/** What an endpoint gets besides its parameters. */
export interface Call {
  /** The session's account. */
  readonly accountId: bigint;
  readonly clients: GatewayClients;
  /** For every RPC that is made on behalf of this request. */
  readonly options: CallOptions;
}

interface EndpointText {
  readonly method: "GET" | "POST";
  /** Below `/api`, with its `.json`. */
  readonly path: `/api/${string}.json`;
  readonly tag: string;
  readonly summary: string;
  readonly description: string;
  /** What a good reply's `data` holds; without it the reply is `{"status":"ok"}`. */
  readonly data?: TSchema;
  /** Codes beyond those of every endpoint, with what they mean here. */
  readonly refusals: Readonly<Partial<Record<RestCode, string>>>;
}

interface EndpointSpec<P extends Params> extends EndpointText {
  readonly params: P;
  /**
   * Whether unknown names in its query are refused; see names.ts. Default: false, as for all calls of the published
   * reference, and for the three beside it that are as old.
   */
  readonly strictQuery?: boolean;
  /** Whether it takes a file, which has bounds and turns of its own; default false. */
  readonly isUpload?: boolean;
  /** Whether its reply may be long; beside others an account has one such call at a time. Default false. */
  readonly isLong?: boolean;
  /** Makes the RPC and gives the reply's `data`, if any. */
  readonly run: (call: Call, values: Values<P>) => Promise<unknown>;
}

/** One documented call: how it reads, what it does, and how it is described. */
export interface Endpoint extends EndpointText {
  readonly params: Params;
  readonly isUpload: boolean;
  readonly isLong: boolean;
  readonly strictQuery: boolean;
  /** Throws RestError `func` for bad parameters before it makes any RPC. */
  readonly run: (call: Call, form: Form) => Promise<unknown>;
}

export function defineEndpoint<P extends Params>(spec: EndpointSpec<P>): Endpoint {
  const { strictQuery = false } = spec;
  return {
    isUpload: false,
    isLong: false,
    ...spec,
    strictQuery,
    run: (call, form) => spec.run(call, readParams({ ...spec, strictQuery }, form)),
  };
}
