/**
 * The timeline that Postgres writes on, as an expression of SQL: a replica that is promoted begins a new one. It says so at
 * once, where pg_control_checkpoint says so after the next checkpoint. Fails on a replica that is none yet, as every write does.
 */
export const CURRENT_TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int";
