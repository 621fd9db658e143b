CREATE TABLE "database_identity" (
	"id" smallint PRIMARY KEY NOT NULL,
	"identity" text NOT NULL
);
