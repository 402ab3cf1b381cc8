-- The label and description of a file, and folded texts by which names and labels are searched and
-- sorted. `domain::folding` makes those; they are NULL where ASCII lower() gives the same text.
ALTER TABLE attachments ADD COLUMN name_folded TEXT;
ALTER TABLE attachments ADD COLUMN label TEXT;
ALTER TABLE attachments ADD COLUMN label_folded TEXT;
ALTER TABLE attachments ADD COLUMN description TEXT;
ALTER TABLE trashed_attachments ADD COLUMN name_folded TEXT;
ALTER TABLE trashed_attachments ADD COLUMN label TEXT;
ALTER TABLE trashed_attachments ADD COLUMN label_folded TEXT;
ALTER TABLE trashed_attachments ADD COLUMN description TEXT;
ALTER TABLE contacts ADD COLUMN label_folded TEXT;
