/** The OpenAPI 3.1 document: each endpoint describes its own operation, and Elysia's routes are what is collected. */
import { toOpenAPISchema } from "@elysiajs/openapi";
import { type TSchema, Type } from "@sinclair/typebox";
import type { AnyElysia } from "elysia";
import type { Endpoint } from "./endpoint.ts";
import type { Params } from "./params.ts";
import { type RestCode, restCodes } from "./rest-error.ts";

type Json = Record<string, unknown>;

/** Refusals that every endpoint shares. */
const sharedCodes = ["key", "unpaid", "func", "db", "limit"] as const satisfies readonly RestCode[];

const strictText = "An unknown name in its query is refused, but for `_`, `t`, `ts` and `v`.";

/** The operation object of an endpoint. */
export function operationOf(endpoint: Endpoint): Json {
  const inQuery = endpoint.method === "GET";
  const strict = endpoint.strictQuery ? `\n\n${strictText}` : "";
  return {
    operationId: operationIdOf(endpoint),
    tags: [endpoint.tag],
    summary: endpoint.summary,
    description: `${endpoint.description}${strict}\n\n${refusalsText(endpoint)}`,
    security: [{ session: [] }],
    ...(inQuery ? { parameters: queryParameters(endpoint.params) } : { requestBody: requestBody(endpoint.params) }),
    responses: { 200: response(endpoint) },
  };
}

/** `POST /api/camp/broadcast.json` → `postCampBroadcast`. */
function operationIdOf({ method, path }: Endpoint): string {
  const words = path.replace(/^\/api\/|\.json$/g, "").split("/");
  return method.toLowerCase() + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join("");
}

/** In the order in which the checks are made; what can go wrong after them comes last. */
function refusalsOf(endpoint: Endpoint): Map<RestCode, string> {
  const meanings: Partial<Record<RestCode, string>> = {
    ...Object.fromEntries(sharedCodes.map((code) => [code, restCodes[code]])),
    ...endpoint.refusals,
  };
  const codes = Object.keys(restCodes) as RestCode[];
  return new Map(codes.flatMap((code) => (meanings[code] === undefined ? [] : [[code, meanings[code]]])));
}

function refusalsText(endpoint: Endpoint): string {
  const rows = [...refusalsOf(endpoint)].map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return ["| Error | When |", "| --- | --- |", ...rows].join("\n");
}

function queryParameters(params: Params): Json[] {
  return Object.entries(params).map(([name, { schema, required }]) => {
    const { description, ...rest } = schema;
    return { name, in: "query", required, description, schema: rest };
  });
}

function requestBody(params: Params): Json {
  const hasFile = Object.values(params).some((param) => param.schema.format === "binary");
  const types = hasFile
    ? ["multipart/form-data"]
    : ["application/x-www-form-urlencoded", "application/json", "multipart/form-data"];
  return {
    required: Object.values(params).some(({ required }) => required),
    content: Object.fromEntries(types.map((type) => [type, { schema: objectOf(params, type) }])),
  };
}

function objectOf(params: Params, contentType: string): TSchema {
  const properties = Object.entries(params).map(([name, { schema, jsonSchema = schema, required }]) => {
    const inBody = contentType === "application/json" ? jsonSchema : schema;
    return [name, required ? inBody : Type.Optional(inBody)];
  });
  return Type.Object(Object.fromEntries(properties));
}

function response(endpoint: Endpoint): Json {
  const schema = Type.Union([okSchema(endpoint.data), errorSchema([...refusalsOf(endpoint).keys()])]);
  return {
    description: "The outcome. HTTP says 200 for refusals too: `status` tells the two apart.",
    content: { "application/json": { schema } },
  };
}

function okSchema(data: TSchema | undefined): TSchema {
  return Type.Object(data === undefined ? { status: Type.Literal("ok") } : { status: Type.Literal("ok"), data }, {
    title: "Done",
    additionalProperties: false,
  });
}

function errorSchema(codes: readonly RestCode[]): TSchema {
  return Type.Object(
    {
      status: Type.Literal("error"),
      error: Type.Unsafe<RestCode>({ type: "string", enum: codes, description: "The code, for programs." }),
      message: Type.String({ description: "A sentence for people, in English. It may change; build on the code." }),
    },
    { title: "Refused", additionalProperties: false },
  );
}

const introduction = `Follow-ups and broadcasts of Telegram bots.

Every call carries the session as \`Authorization: Bearer <token>\`. GET takes its parameters from the query; POST takes
them from the body as a form, as JSON or as multipart, under the same names; one that stands in a POST's query is refused,
and so is one that comes twice. A list is \`campaigns=12,18\`, \`campaigns[]=12&campaigns[]=18\`,
\`campaigns[0]=12&campaigns[1]=18\` or a JSON array. In a body an unknown name is refused, but for those that get.json and
camp/broadcast.json return and that choose nothing, so that what was read can be sent back. In a query unknown names are
ignored, by calls that say so only \`_\`, \`t\`, \`ts\` and \`v\`. Numbers are written in digits: no sign, no exponent, no
spaces. Times are unix seconds, and 0 is unset.

The HTTP status is 200 whatever happens. The outcome is in the body: \`{"status":"ok"}\`, with \`data\` where there is
something to tell, or \`{"status":"error","error":"<code>","message":"<for people>"}\`. Checks come in this order:
\`key\`, \`unpaid\`, \`func\` (call and parameters), \`access\`, \`broadcasts\`, \`state\`, \`func\` (stored message).`;

const tags = [
  { name: "Broadcasts", description: "A message to every lead that matches, when its owner presses Start." },
  { name: "Campaigns", description: "Follow-ups: one block per campaign and lead status." },
  { name: "Media", description: "Pictures and videos for messages." },
];

/** Collects the document from an app's routes. `publicUrl` is where the world reaches the gateway. */
export function openApiDocument(app: AnyElysia, publicUrl: string | undefined): Json {
  const { paths } = toOpenAPISchema(app, { staticFile: false });
  const here = { url: "/", description: "Where this page comes from" };
  return {
    openapi: "3.1.0",
    info: { title: "Leadcast API", version: "1.0.0", description: introduction },
    servers: publicUrl === undefined ? [here] : [here, { url: publicUrl, description: "From anywhere" }],
    tags,
    paths,
    components: {
      securitySchemes: {
        session: {
          type: "http",
          scheme: "bearer",
          description: "The session's token. On a system of your own `npm start` prints one.",
        },
      },
    },
  };
}
