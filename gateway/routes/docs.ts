import { Elysia } from "elysia";
import { corsHeaders, preflightReply } from "../cors.ts";
import type { Observe } from "../observe.ts";

/** Everything that the page needs comes from here: it works without the internet, and tells nobody that it is read. */
const assets: Readonly<Record<string, string>> = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
  "favicon-32x32.png": "image/png",
};

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Leadcast API</title>
    <link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="reference"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

/** `validatorUrl: null`: Swagger UI would otherwise ask a validator on the internet about the document. */
const start = `window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: -1,
  docExpansion: "list",
  tryItOutEnabled: true,
});
`;

const headers = {
  // The document is there for tools of any origin, and tells nothing that is not public.
  ...corsHeaders,
  // The browser itself holds the page to this origin. Swagger UI styles its elements inline and has images as data.
  "content-security-policy":
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "cache-control": "public, max-age=300",
};

/** `/docs` and its parts, and the document that it shows at `/openapi.json`. */
export function docsRoutes(observe: Observe, document: string) {
  const app = new Elysia({ name: "docs" });
  const serve = (path: string, type: string, body: () => string | Blob) => {
    const reply = () => new Response(body(), { headers: { ...headers, "content-type": type } });
    app.get(path, observe(path, reply), { detail: { hide: true } });
    app.options(path, observe(path, preflightReply), { detail: { hide: true } });
  };
  serve("/docs", "text/html; charset=utf-8", () => page);
  serve("/docs/start.js", "text/javascript; charset=utf-8", () => start);
  serve("/openapi.json", "application/json", () => document);
  for (const [name, type] of Object.entries(assets)) {
    const file = Bun.file(new URL(import.meta.resolve(`swagger-ui-dist/${name}`)));
    serve(`/docs/${name}`, type, () => file);
  }
  return app;
}
