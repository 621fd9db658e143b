export * from "./account.ts";
export * from "./audit.ts";
export * from "./broadcast.ts";
export * from "./campaign.ts";
export * from "./ledger.ts";
export * from "./media.ts";
export * from "./person.ts";
