import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "postgresql",
  schema: "./services/database/schema/index.ts",
  out: "./services/database/migrations",
});
