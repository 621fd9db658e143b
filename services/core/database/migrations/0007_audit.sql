CREATE TABLE "audit_entry" (
	"at" timestamp with time zone NOT NULL,
	"account_id" bigint,
	"id" uuid NOT NULL,
	"slot" integer NOT NULL,
	"calls" integer NOT NULL,
	"changes" integer NOT NULL,
	"token" text NOT NULL,
	"session" text NOT NULL,
	"address" text,
	"call" text NOT NULL,
	"object_kind" text NOT NULL,
	"object_id" text NOT NULL,
	"outcome" text NOT NULL,
	CONSTRAINT "audit_entry_at_id_slot_pk" PRIMARY KEY("at","id","slot")
) PARTITION BY RANGE ("at");
--> statement-breakpoint
ALTER TABLE "session" ADD COLUMN "created_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "session" ADD COLUMN "last_used_at" timestamp with time zone;--> statement-breakpoint
CREATE INDEX "audit_entry_account" ON "audit_entry" USING btree ("account_id","at","id");--> statement-breakpoint
CREATE INDEX "audit_entry_call" ON "audit_entry" USING btree ("call","at","id");--> statement-breakpoint
CREATE INDEX "audit_entry_address" ON "audit_entry" USING btree ("at") WHERE address IS NOT NULL;--> statement-breakpoint
CREATE INDEX "session_account" ON "session" USING btree ("account_id");
--> statement-breakpoint
-- What no month takes: an entry must never fail for want of a partition. services/audit/partitions.ts makes the months to come.
CREATE TABLE "audit_entry_default" PARTITION OF "audit_entry" DEFAULT;--> statement-breakpoint
DO $$
DECLARE first timestamp;
BEGIN
  FOR n IN 0..2 LOOP
    first := date_trunc('month', now() AT TIME ZONE 'utc') + n * interval '1 month';
    EXECUTE format('CREATE TABLE %I PARTITION OF audit_entry FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 70)',
      'audit_entry_' || to_char(first, 'YYYY_MM'), first AT TIME ZONE 'utc', (first + interval '1 month') AT TIME ZONE 'utc');
  END LOOP;
END $$;
