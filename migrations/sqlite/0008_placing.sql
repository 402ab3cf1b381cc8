-- The SHA-256 of the complete file that a node has begun to move to its final place: if two nodes
-- finish one resumable upload at once with different bytes, only one may. Unused with a local disk.
ALTER TABLE uploads ADD COLUMN placing_sha256 BLOB;
