//! Copies all rows from SQLite to PostgreSQL or back: in one transaction on the target, which is
//! committed only after both sides compare equal.

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::db::postgres::Postgres;
use crate::db::sql::{self, Cell, Connection, FromCell, Row, ToCell};
use crate::db::{DatabaseLocation, Inspection, sqlite};

/// Every table except those of the nodes themselves (leases, key fingerprints) and of sessions.
/// Referenced tables come first.
const TABLES: &[&str] = &[
    "sites",
    "api_keys",
    "contacts",
    "attachments",
    "spent_uploads",
    "blob_removals",
    "uploads",
    "site_usage",
    "backup_holds",
    "tombstones",
    "damaged_blobs",
    "subscriptions",
    "events",
    "deliveries",
    "delivery_attempts",
    "trashed_attachments",
    "contact_closings",
    "erasures",
    "erased_files",
    "inbound_keys",
    "inbound_events",
];

/// Rows written by one statement.
const ROWS_PER_INSERT: usize = 100;

/// A copied table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// Number of its rows.
    pub rows: u64,
}

/// Copies all rows to an empty database. Nothing may write to `from` meanwhile: for a SQLite file
/// the caller holds the data folder's lock.
///
/// # Errors
///
/// When either side cannot be used, both are of the same kind, the target contains sites already,
/// or what was written differs from what was read. Then nothing was written.
pub fn copy(from: &DatabaseLocation, to: &DatabaseLocation) -> anyhow::Result<Vec<CopiedTable>> {
    let source = Inspection::open(from)?;
    let target = match to {
        DatabaseLocation::File(file) => Connection::Sqlite(sqlite::open_writer(file)?),
        DatabaseLocation::Postgres(location) => Postgres::connect_and_migrate(location)?,
    };
    let columns_of = match (&source.connection, &target) {
        (Connection::Sqlite(sqlite), Connection::Postgres(_))
        | (Connection::Postgres(_), Connection::Sqlite(sqlite)) => |table| columns(sqlite, table),
        (Connection::Postgres(_), _) => bail!("both are PostgreSQL: use pg_dump and pg_restore"),
        (Connection::Sqlite(_), _) => bail!("both are SQLite: use `dossier backup`"),
    };
    let tables: Vec<Table> = TABLES
        .iter()
        .map(|name| Ok(Table::new(name, &columns_of(name)?)))
        .collect::<anyhow::Result<_>>()?;
    source.snapshot(|source| {
        target.atomically(|target| {
            let has_sites = target.prepare_cached("SELECT 1 FROM sites LIMIT 1")?.exists(&[])?;
            ensure!(!has_sites, "the target database contains sites already: name an empty one");
            tables.iter().map(|table| table.copy(&source.connection, target)).collect()
        })
    })
}

fn columns(sqlite: &rusqlite::Connection, table: &str) -> anyhow::Result<Vec<String>> {
    let mut statement = sqlite.prepare("SELECT name FROM pragma_table_info($1) ORDER BY cid")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// A table and the statements that read and write it.
struct Table {
    name: &'static str,
    width: usize,
    select: &'static str,
    insert_one: &'static str,
    insert_many: &'static str,
}

impl Table {
    fn new(name: &'static str, columns: &[String]) -> Self {
        let (width, names) = (columns.len(), columns.join(", "));
        let insert = |rows: usize| {
            let row = |row: usize| {
                let cells: Vec<_> =
                    (1..=width).map(|cell| format!("${}", row * width + cell)).collect();
                format!("({})", cells.join(", "))
            };
            let rows: Vec<_> = (0..rows).map(row).collect();
            // Leaked once: three statements for each table.
            let sql = format!("INSERT INTO {name} ({names}) VALUES {}", rows.join(", "));
            &*sql.leak()
        };
        let select = format!("SELECT {names} FROM {name}").leak();
        Self { name, width, select, insert_one: insert(1), insert_many: insert(ROWS_PER_INSERT) }
    }

    fn copy(&self, source: &Connection, target: &Connection) -> anyhow::Result<CopiedTable> {
        let name = self.name;
        let (mut read, mut pending) = (Digest::default(), Vec::new());
        source
            .prepare_cached(self.select)?
            .each(&[], |row| {
                let start = pending.len();
                for column in 0..self.width {
                    pending.push(row.get::<Owned>(column)?);
                }
                read.add(&pending[start..]);
                if pending.len() == self.width * ROWS_PER_INSERT {
                    write(target, self.insert_many, &pending)?;
                    pending.clear();
                }
                Ok(true)
            })
            .with_context(|| format!("cannot copy {name}"))?;
        for row in pending.chunks(self.width) {
            write(target, self.insert_one, row).with_context(|| format!("cannot copy {name}"))?;
        }
        let mut written = Digest::default();
        target.prepare_cached(self.select)?.each(&[], |row| {
            written.add(&self.cells(row)?);
            Ok(true)
        })?;
        ensure!(read == written, "{name} differs after it was written; nothing was committed");
        Ok(CopiedTable { name, rows: read.rows })
    }

    fn cells(&self, row: Row<'_>) -> sql::Result<Vec<Owned>> {
        (0..self.width).map(|column| row.get(column)).collect()
    }
}

fn write(target: &Connection, insert: &'static str, cells: &[Owned]) -> sql::Result<()> {
    let cells: Vec<Cell<'_>> = cells.iter().map(ToCell::to_cell).collect();
    target.prepare_cached(insert)?.execute(&cells).map(drop)
}

/// An owned value, read from one database to be written to the other.
enum Owned {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl FromCell<'_> for Owned {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        Some(match cell {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(number),
            // PostgreSQL cannot store NUL; both sides compare the replacement.
            Cell::Text(text) => Self::Text(text.replace('\0', "\u{fffd}")),
            Cell::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Cell::Ids(_) => return None,
        })
    }
}

impl ToCell for Owned {
    fn to_cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(number) => Cell::Integer(*number),
            Self::Text(text) => Cell::Text(text),
            Self::Bytes(bytes) => Cell::Bytes(bytes),
        }
    }
}

/// A table's digest, independent of order: the number of its rows and the sum of their SHA-256.
#[derive(Debug, Default, PartialEq, Eq)]
struct Digest {
    rows: u64,
    sum: [u64; 4],
}

impl Digest {
    fn add(&mut self, row: &[Owned]) {
        let mut hash = Sha256::new();
        for cell in row {
            let (kind, bytes): (u8, &[u8]) = match cell {
                Owned::Null => (0, &[]),
                Owned::Integer(number) => (1, &number.to_be_bytes()),
                Owned::Text(text) => (2, text.as_bytes()),
                Owned::Bytes(bytes) => (3, bytes),
            };
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        let hash = hash.finalize();
        for (sum, part) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            *sum = sum.wrapping_add(part.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
        }
        self.rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::TABLES;

    /// The tables of a schema's text.
    fn created_tables(sql: &str) -> Vec<&str> {
        let parts = sql.split("CREATE TABLE ").skip(1);
        parts.map(|rest| rest.split([' ', '(']).next().unwrap()).collect()
    }

    #[test]
    fn every_table_is_copied_except_those_of_nodes_and_sessions() {
        let sql = [
            include_str!("../../migrations/postgres/0005_initial.sql"),
            include_str!("../../migrations/postgres/0006_sessions.sql"),
        ];
        let not_copied =
            ["dossier_schema", "key_fingerprints", "job_leases", "sessions", "sign_in_links"];
        let mut expected: Vec<_> = sql
            .into_iter()
            .flat_map(created_tables)
            .filter(|table| !not_copied.contains(table))
            .collect();
        expected.sort_unstable();
        let mut copied = TABLES.to_vec();
        copied.sort_unstable();
        assert_eq!(copied, expected);
    }
}
