CREATE TABLE "service_bot" (
	"id" smallint PRIMARY KEY NOT NULL,
	"number" bigint
);
--> statement-breakpoint
CREATE TABLE "erased_lead" (
	"lead_id" bigint PRIMARY KEY NOT NULL,
	"hash" "bytea" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "opt_out" (
	"hash" "bytea" PRIMARY KEY NOT NULL,
	"received_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "reachability" (
	"bot_id" bigint NOT NULL,
	"chat_id" bigint NOT NULL,
	"second" bigint NOT NULL,
	"tie" bigint NOT NULL,
	"rank" smallint NOT NULL,
	"unreachable" smallint NOT NULL,
	CONSTRAINT "reachability_bot_id_chat_id_pk" PRIMARY KEY("bot_id","chat_id")
);
--> statement-breakpoint
CREATE TABLE "sealed_secret" (
	"name" text PRIMARY KEY NOT NULL,
	"sealed" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "start_task" (
	"name" text PRIMARY KEY NOT NULL,
	"done_through" bigint DEFAULT 0 NOT NULL,
	"finished_at" timestamp with time zone
);
--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "number" bigint;--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "number_state" smallint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "bot" ADD COLUMN "former_numbers" bigint[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
CREATE INDEX "bot_unread" ON "bot" USING btree ("id") WHERE number_state = 0;--> statement-breakpoint
ALTER TABLE "bot" ADD CONSTRAINT "bot_number" UNIQUE("number");--> statement-breakpoint
ALTER TABLE "bot" ADD CONSTRAINT "bot_number_own" CHECK ((number IS NOT NULL) = (number_state = 1));--> statement-breakpoint
INSERT INTO "service_bot" ("id") VALUES (1);--> statement-breakpoint
-- A status or arrival that was reported for a time to come would stand there until then, whatever is reported. It counts as
-- now, and so does what was scheduled from it.
DO $$
DECLARE
	statuses bigint;
	arrivals bigint;
BEGIN
	WITH ahead AS (SELECT id, entry, status_time FROM lead WHERE status_time > now()),
	moved AS (
		UPDATE send s SET due_at = s.due_at - (a.status_time - now()) FROM ahead a
		WHERE s.lead_id = a.id AND s.entry = a.entry AND s.kind = 2 AND s.state = 0 AND s.due_at >= a.status_time),
	changed AS (UPDATE lead l SET status_time = now() FROM ahead a WHERE l.id = a.id RETURNING 1)
	SELECT count(*) INTO statuses FROM changed;
	WITH changed AS (UPDATE lead SET created_time = now() WHERE created_time > now() RETURNING 1)
	SELECT count(*) INTO arrivals FROM changed;
	IF statuses > 0 OR arrivals > 0 THEN
		RAISE WARNING 'Leadcast: times ahead of now were set to now: % of statuses, % of arrivals', statuses, arrivals;
	END IF;
END $$;
