CREATE TABLE "media" (
	"ref" text PRIMARY KEY NOT NULL,
	"account_id" bigint NOT NULL,
	"sha256" "bytea" NOT NULL,
	"size" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"width" integer NOT NULL,
	"height" integer NOT NULL,
	"media_type" smallint NOT NULL,
	"mime_type" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "media_chunk" (
	"media_ref" text NOT NULL,
	"n" integer NOT NULL,
	"bytes" "bytea" NOT NULL,
	CONSTRAINT "media_chunk_media_ref_n_pk" PRIMARY KEY("media_ref","n")
);
--> statement-breakpoint
CREATE TABLE "media_file" (
	"bot_id" bigint NOT NULL,
	"media_ref" text NOT NULL,
	"file_id" text,
	"uploader" text,
	"uploading_until" timestamp with time zone,
	"version" integer DEFAULT 1 NOT NULL,
	CONSTRAINT "media_file_bot_id_media_ref_pk" PRIMARY KEY("bot_id","media_ref")
);
--> statement-breakpoint
CREATE TABLE "media_usage" (
	"account_id" bigint PRIMARY KEY NOT NULL,
	"bytes" bigint NOT NULL
);
--> statement-breakpoint
ALTER TABLE "media" ADD CONSTRAINT "media_account_id_account_id_fk" FOREIGN KEY ("account_id") REFERENCES "public"."account"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "media_chunk" ADD CONSTRAINT "media_chunk_media_ref_media_ref_fk" FOREIGN KEY ("media_ref") REFERENCES "public"."media"("ref") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "media_file" ADD CONSTRAINT "media_file_bot_id_bot_id_fk" FOREIGN KEY ("bot_id") REFERENCES "public"."bot"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "media_file" ADD CONSTRAINT "media_file_media_ref_media_ref_fk" FOREIGN KEY ("media_ref") REFERENCES "public"."media"("ref") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "media_usage" ADD CONSTRAINT "media_usage_account_id_account_id_fk" FOREIGN KEY ("account_id") REFERENCES "public"."account"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "media_account_sha256" ON "media" USING btree ("account_id","sha256");