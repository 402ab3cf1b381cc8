"""Multiplies the only file of a data folder to COUNT files: multiply.py DATABASE COUNT. No server may use the folder.

All share the same bytes. Uploading them would take a minute."""

import sqlite3
import sys
import uuid

database, count = sys.argv[1], int(sys.argv[2])
connection = sqlite3.connect(database)
rows = connection.execute("SELECT * FROM attachments")
columns = [column[0] for column in rows.description]
(first,) = (dict(zip(columns, row)) for row in rows)
extension = first["file_name"].rsplit(".", 1)[1]


def another(number):
    changed = {"attachment_id": uuid.uuid4().bytes, "created_at_ms": first["created_at_ms"] + number,
               "file_name": f"file-{number:05}.{extension}"}
    return [{**first, **changed}[column] for column in columns]


with connection:
    connection.executemany(f"INSERT INTO attachments VALUES ({','.join('?' * len(columns))})",
                           (another(number) for number in range(1, count)))
    for table in ["contacts", "site_usage"]:
        connection.execute(f"UPDATE {table} SET attachment_count = attachment_count * ?, total_bytes = total_bytes * ?",
                           (count, count))
    connection.execute("UPDATE contacts SET last_created_at_ms = last_created_at_ms + ?, revision = revision + ?",
                       (count - 1, count))
connection.close()
