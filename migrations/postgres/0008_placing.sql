-- The same as migrations/sqlite/0008_placing.sql, where it is documented. Releases from schema 7 on
-- keep working with it.
ALTER TABLE uploads ADD COLUMN placing_sha256 BYTEA;
UPDATE dossier_schema SET version = 8;
