import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "postgresql",
  schema: "./services/core/database/schema/index.ts",
  out: "./services/core/database/migrations",
});
