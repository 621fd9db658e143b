CREATE TABLE "bot_refusal" (
	"bot_id" bigint NOT NULL,
	"source_id" bigint NOT NULL,
	"lead_id" bigint NOT NULL,
	"chat_id" bigint NOT NULL,
	"refused_at" timestamp with time zone DEFAULT now() NOT NULL,
	"entry" integer NOT NULL,
	"state" smallint DEFAULT 0 NOT NULL,
	"words" text NOT NULL,
	CONSTRAINT "bot_refusal_bot_id_words_source_id_lead_id_entry_pk" PRIMARY KEY("bot_id","words","source_id","lead_id","entry")
);
--> statement-breakpoint
ALTER TABLE "lane" DROP CONSTRAINT "lane_pkey";--> statement-breakpoint
ALTER TABLE "lane" ADD CONSTRAINT "lane_bot_id_reason_pk" PRIMARY KEY("bot_id","reason");--> statement-breakpoint
ALTER TABLE "broadcast" ADD COLUMN "fault_words" text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "broadcast" ADD COLUMN "excused_run" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "broadcast" ADD COLUMN "excused_words" text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "lane" ADD COLUMN "since" timestamp with time zone DEFAULT now() NOT NULL;--> statement-breakpoint
ALTER TABLE "lane" ADD COLUMN "probe_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "lane" ADD COLUMN "tried_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "lane" ADD COLUMN "probes" smallint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "lane" ADD COLUMN "accepted" smallint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "lane" ADD COLUMN "words" text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "media_file" ADD COLUMN "dropped_at" timestamp with time zone;--> statement-breakpoint
-- The hold of a restored database has a reason of its own since then; before it was an operator's.
UPDATE "lane" SET reason = 6 WHERE bot_id = 0 AND reason = 4 AND message LIKE 'This database is not the one that delivery%';
