-- What people write beside a file, and texts by which names and labels are searched and sorted:
-- `domain::folding` makes them, and they are NULL where lower() of the ASCII letters is the same.
ALTER TABLE attachments ADD COLUMN name_folded TEXT;
ALTER TABLE attachments ADD COLUMN label TEXT;
ALTER TABLE attachments ADD COLUMN label_folded TEXT;
ALTER TABLE attachments ADD COLUMN description TEXT;
ALTER TABLE trashed_attachments ADD COLUMN name_folded TEXT;
ALTER TABLE trashed_attachments ADD COLUMN label TEXT;
ALTER TABLE trashed_attachments ADD COLUMN label_folded TEXT;
ALTER TABLE trashed_attachments ADD COLUMN description TEXT;
ALTER TABLE contacts ADD COLUMN label_folded TEXT;
