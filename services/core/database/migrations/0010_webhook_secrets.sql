ALTER TABLE "bot" ALTER COLUMN "webhook_secret" SET DEFAULT '';--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "webhook_secret_sealed" text;--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "webhook_former_sealed" text;--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "webhook_former_until" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "webhook_version" integer DEFAULT 1 NOT NULL;