-- Fills a database created by `dossier migrate` and a first start:
--
--   psql -v first=1 -v last=100000 -v each=100 -f bench/load_postgres.sql URL
--
-- Contacts `first` to `last` of the only site get `each` attachments, ten at a time in turn, because real
-- files arrive over time, not all in one hour: ten adjacent rows of a contact, then those of other
-- contacts. Contact ids count up as in examples/seed.rs. The rows have no bytes.
\set ON_ERROR_STOP on
BEGIN;

INSERT INTO attachments (site_id, contact_id, created_at_ms, attachment_id, file_name, mime_type,
    media_extension, size_bytes, sha256, blob_id, width, height, has_preview)
SELECT s.site_id, ('00000000-0000-4000-8000-' || lpad(to_hex(c), 12, '0'))::uuid,
    1750000000000 + n, gen_random_uuid(),
    (ARRAY['kitchen-before', 'roof-detail', 'signed-offer', 'Küche Müller'])[1 + n % 4]
        || '-' || lpad(n::text, 4, '0') || CASE WHEN n % 10 = 9 THEN '.pdf' ELSE '.jpg' END,
    CASE WHEN n % 10 = 9 THEN 'application/pdf' ELSE 'image/jpeg' END,
    CASE WHEN n % 10 = 9 THEN 'pdf' ELSE 'jpg' END,
    1048576, decode(repeat(lpad(to_hex(n % 256), 2, '0'), 32), 'hex'), gen_random_uuid(),
    CASE WHEN n % 10 = 9 THEN 0 ELSE 4000 END, CASE WHEN n % 10 = 9 THEN 0 ELSE 3000 END,
    CASE WHEN n % 10 = 9 THEN 0 ELSE 1 END
FROM sites s, generate_series(0, (:each - 1) / 10) AS round,
    generate_series(:first::bigint, :last::bigint) AS c,
    generate_series(round * 10, least(round * 10 + 9, :each - 1)) AS n;

INSERT INTO contacts (site_id, contact_id, attachment_count, total_bytes, revision, last_created_at_ms)
SELECT s.site_id, ('00000000-0000-4000-8000-' || lpad(to_hex(c), 12, '0'))::uuid,
    :each, :each * 1048576::bigint, :each, 1750000000000 + :each - 1
FROM sites s, generate_series(:first::bigint, :last::bigint) AS c;

INSERT INTO site_usage (site_id, attachment_count, total_bytes)
SELECT site_id, sum(attachment_count), sum(total_bytes) FROM contacts GROUP BY site_id
ON CONFLICT (site_id) DO UPDATE
    SET attachment_count = EXCLUDED.attachment_count, total_bytes = EXCLUDED.total_bytes;

COMMIT;
VACUUM (ANALYZE);
