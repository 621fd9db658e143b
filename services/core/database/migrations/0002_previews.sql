CREATE TABLE "preview_turn" (
	"account_id" bigint PRIMARY KEY NOT NULL,
	"taken_at" timestamp with time zone NOT NULL
);
