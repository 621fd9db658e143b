/** Every id-bearing field of every endpoint and RPC, found in the gateway's list and the services' descriptors. */
import { type DescField, type DescMessage, type DescMethod, type DescService, ScalarType } from "@bufbuild/protobuf";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { endpoints } from "../../gateway/app.ts";

export const services: readonly DescService[] = [AccountService, CampaignService, BroadcastService, DeliveryService];

export interface RpcField {
  /** `Service.Method`, without its package. */
  rpc: string;
  method: DescMethod;
  /** Names in TypeScript, from the request inwards. */
  path: readonly string[];
  field: DescField;
}

/** Fields that name a row: whole numbers called id or …_id or …_ids, chats, and refs of media. */
export function rpcFields(): RpcField[] {
  return services.flatMap((service) =>
    service.methods.flatMap((method) =>
      idsIn(method.input).map((found) => ({ rpc: `${service.name}.${method.name}`, method, ...found })),
    ),
  );
}

function idsIn(message: DescMessage, path: readonly string[] = []): Pick<RpcField, "path" | "field">[] {
  return message.fields.flatMap((field) => {
    const here = [...path, field.localName];
    if (isId(field)) return [{ path: here, field }];
    const inner = field.fieldKind === "message" || field.fieldKind === "list" ? field.message : undefined;
    return inner && !inner.typeName.startsWith("google.") ? idsIn(inner, here) : [];
  });
}

function isId(field: DescField): boolean {
  if (field.name === "media") return true;
  const scalar = field.fieldKind === "scalar" ? field.scalar : field.fieldKind === "list" ? field.scalar : undefined;
  return scalar === ScalarType.INT64 && /(^|_)ids?$/.test(field.name);
}

/** `METHOD path parameter` for every parameter of the gateway's that names a row. */
export function restFields(): string[] {
  return endpoints.flatMap(({ method, path, params }) =>
    Object.keys(params)
      .filter((name) => ["id", "campaigns", "media"].includes(name) || /_ids?$/.test(name))
      .map((name) => `${method} ${path} ${name}`),
  );
}
