-- As migrations/sqlite/0007_descriptions.sql. Searched columns have the collation "C", so that
-- lower() and the order are those of SQLite. Changing a collation breaks the prepared statements
-- of running nodes, so nodes before this schema stop writing.
DROP VIEW counted_attachments;
ALTER TABLE attachments ALTER COLUMN file_name TYPE TEXT COLLATE "C";
ALTER TABLE attachments ADD COLUMN name_folded TEXT COLLATE "C";
ALTER TABLE attachments ADD COLUMN label TEXT COLLATE "C";
ALTER TABLE attachments ADD COLUMN label_folded TEXT COLLATE "C";
ALTER TABLE attachments ADD COLUMN description TEXT;
ALTER TABLE trashed_attachments ADD COLUMN name_folded TEXT COLLATE "C";
ALTER TABLE trashed_attachments ADD COLUMN label TEXT COLLATE "C";
ALTER TABLE trashed_attachments ADD COLUMN label_folded TEXT COLLATE "C";
ALTER TABLE trashed_attachments ADD COLUMN description TEXT;
ALTER TABLE contacts ALTER COLUMN label TYPE TEXT COLLATE "C";
ALTER TABLE contacts ADD COLUMN label_folded TEXT COLLATE "C";
CREATE VIEW counted_attachments AS SELECT * FROM attachments a WHERE NOT EXISTS
    (SELECT 1 FROM contact_closings c
     WHERE c.site_id = a.site_id AND c.contact_id = a.contact_id);
UPDATE dossier_schema SET version = 7, oldest_program = 7;
