import { describe, expect, test } from "bun:test";
import { type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { WaitReason } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { MediaType } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { endpoints } from "../../../gateway/app.ts";
import { restCodes } from "../../../gateway/rest-error.ts";
import { envelopeOf, type Replies, setup } from "../gateway-world.ts";

interface Operation {
  operationId: string;
  description: string;
  parameters?: { name: string; in: string; description: string; required: boolean }[];
  requestBody?: { content: Record<string, { schema: { properties: Record<string, { description?: string }> } }> };
  responses: { 200: { content: { "application/json": { schema: { anyOf: TSchema[] } } } } };
}

interface Document {
  openapi: string;
  servers: { url: string }[];
  paths: Record<string, Record<string, Operation>>;
}

async function openApi(): Promise<Document> {
  const response = await setup().handle(new Request("http://localhost/openapi.json"));
  expect(response.headers.get("content-type")).toBe("application/json");
  return (await response.json()) as Document;
}

async function operationOf(method: string, path: string): Promise<Operation> {
  const operation = (await openApi()).paths[path]?.[method.toLowerCase()];
  if (operation === undefined) throw new Error(`${method} ${path} is not described`);
  return operation;
}

describe("/openapi.json", () => {
  test("is OpenAPI 3.1 and has every endpoint, and nothing else", async () => {
    const { openapi, paths } = await openApi();
    expect(openapi).toStartWith("3.1.");
    const described = Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described.sort()).toEqual(endpoints.map(({ method, path }) => `${method} ${path}`).sort());
  });

  test("gives every operation an id of its own", async () => {
    const { paths } = await openApi();
    const ids = Object.values(paths).flatMap((operations) => Object.values(operations).map((one) => one.operationId));
    expect(new Set(ids).size).toBe(endpoints.length);
  });

  test("tells the address that the world knows beside its own", async () => {
    expect((await openApi()).servers.map(({ url }) => url)).toEqual(["/", "https://leadcast.example"]);
  });

  test.each(endpoints.map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const))(
    "describes every parameter and every error of %s",
    async (_name, { method, path, params, refusals }) => {
      const operation = await operationOf(method, path);
      const fields = Object.values(operation.requestBody?.content ?? {}).flatMap(({ schema }) =>
        Object.entries(schema.properties).map(([name, property]) => ({ name, description: property.description })),
      );
      for (const name of Object.keys(params)) {
        const described = [...(operation.parameters ?? []), ...fields].filter((one) => one.name === name);
        expect(described.length).toBeGreaterThan(0);
        for (const { description } of described) expect(description).toMatch(/\w/);
      }
      for (const code of ["key", "unpaid", "func", "db", ...Object.keys(refusals)]) {
        expect(operation.description).toContain(`| \`${code}\` | `);
        expect(restCodes).toHaveProperty(code);
      }
    },
  );

  const broadcast = {
    id: 5n,
    state: BroadcastState.DONE,
    audience: { statuses: [LeadStatus.HOLD], campaignIds: [1n] },
  };
  const waiting = [{ reason: WaitReason.BOT, botId: 1n, message: "m" }];
  const replies: Replies = {
    ListBlocks: { blocks: [1, 2, 3, 4, 5].map((status) => ({ status })) },
    ListCampaigns: { campaigns: [{ id: 1n, botId: 1n, state: CampaignState.LIVE }] },
    ListBroadcasts: { broadcasts: [broadcast] },
    GetBroadcast: { broadcast },
    GetProgress: { progress: { state: BroadcastState.RUNNING, waiting } },
    UploadMedia: { media: "m", mediaType: MediaType.PHOTO },
  };

  test.each(endpoints.map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const))(
    "describes the data of %s as it is, without a field more or less",
    async (_name, { method, path, params, data }) => {
      const world = setup(replies);
      const reply = await envelopeOf(
        method === "GET" ? world.get(`${path}?id=5`) : world.post(path, anyForm(Object.keys(params))),
      );
      expect(reply.status).toBe("ok");
      const schema = data ?? Type.Undefined();
      expect([...Value.Errors(schema, reply.data)]).toEqual([]);
      expect(Value.Clean(schema, structuredClone(reply.data))).toEqual(reply.data);
    },
  );

  test("lists the codes that a refusal may have, in the order of the checks", async () => {
    const { responses } = await operationOf("POST", "/api/broadcast/start.json");
    const refused = responses[200].content["application/json"].schema.anyOf[1];
    expect(refused?.properties.error.enum).toEqual([
      "key",
      "unpaid",
      "func",
      "access",
      "broadcasts",
      "state",
      "db",
      "limit",
    ]);
  });
});

/** Good for every POST: of these, what it takes. */
function anyForm(names: readonly string[]): FormData {
  const form = new FormData();
  if (names.includes("id")) form.append("id", "5");
  if (names.includes("status")) form.append("status", "1");
  if (names.includes("file")) form.append("file", new File(["x"], "x"));
  return form;
}

describe("/docs", () => {
  const fetchPath = (path: string) => setup().handle(new Request(`http://localhost${path}`));

  test("is made of parts that come from here", async () => {
    const page = await (await fetchPath("/docs")).text();
    const parts = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);
    expect(parts.length).toBeGreaterThanOrEqual(4);
    for (const part of parts) {
      expect(part).toStartWith("/docs/");
      const response = await fetchPath(part);
      expect([part, response.status]).toEqual([part, 200]);
      expect((await response.bytes()).byteLength).toBeGreaterThan(0);
    }
  });

  test("forbids the browser every other origin, and asks no validator", async () => {
    const policy = (await fetchPath("/docs")).headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'self'");
    expect(policy).not.toContain("http");
    expect(await (await fetchPath("/docs/start.js")).text()).toContain("validatorUrl: null");
  });

  test("serves no other file of the package", async () => {
    for (const name of ["package.json", "../package.json", "swagger-ui-bundle.js.map"]) {
      expect((await fetchPath(`/docs/${name}`)).status).toBe(404);
    }
  });
});
