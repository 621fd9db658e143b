DROP INDEX "send_queued";--> statement-breakpoint
CREATE INDEX "send_queued" ON "send" USING btree ("source_id","bot_id","run","lead_id") WHERE state = 0 AND kind = 1;