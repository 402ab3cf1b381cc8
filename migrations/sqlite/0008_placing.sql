-- The SHA-256 of the whole file that a node has begun to put to its place: of two nodes that end one
-- resumable upload at once with different bytes, one may. Not used where the bytes lie on this disk.
ALTER TABLE uploads ADD COLUMN placing_sha256 BLOB;
