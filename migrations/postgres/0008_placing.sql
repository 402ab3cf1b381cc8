-- The same as migrations/sqlite/0008_placing.sql, where its meaning stands. Programs from schema 7 on may
-- go on working with it.
ALTER TABLE uploads ADD COLUMN placing_sha256 BYTEA;
UPDATE dossier_schema SET version = 8;
