//! Moves all rows from SQLite to PostgreSQL or back: one transaction on the side that is written, and a
//! comparison of both sides before it is committed.

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::db::postgres::Postgres;
use crate::db::sql::{self, Cell, Connection, FromCell, Row, ToCell};
use crate::db::{Inspection, Place, sqlite};

/// Every table but those of the nodes themselves (leases, fingerprints of keys) and those of who is signed
/// in, those that others refer to first.
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
const ROWS_AT_ONCE: usize = 100;

/// A table that was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
}

/// Copies all rows to a place that has none. Nobody may write at `from` meanwhile: a SQLite file's caller
/// holds the folder's lock.
///
/// # Errors
///
/// When either side cannot be used, both are of one kind, the other holds sites already, or what was
/// written differs from what was read. Then nothing was written.
pub fn copy(from: &Place, to: &Place) -> anyhow::Result<Vec<CopiedTable>> {
    let source = Inspection::open(from)?;
    let target = match to {
        Place::File(file) => Connection::Sqlite(sqlite::open_writer(file)?),
        Place::Postgres(place) => Postgres::separate_and_migrated(place)?,
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
            let taken = target.prepare_cached("SELECT 1 FROM sites LIMIT 1")?.exists(&[])?;
            ensure!(
                !taken,
                "there are sites already where the rows are to go: name an empty place"
            );
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
            // Statements live as long as the program: three of each table, once.
            let sql = format!("INSERT INTO {name} ({names}) VALUES {}", rows.join(", "));
            &*sql.leak()
        };
        let select = format!("SELECT {names} FROM {name}").leak();
        Self { name, width, select, insert_one: insert(1), insert_many: insert(ROWS_AT_ONCE) }
    }

    fn copy(&self, source: &Connection, target: &Connection) -> anyhow::Result<CopiedTable> {
        let name = self.name;
        let (mut read, mut waiting) = (Digest::default(), Vec::new());
        source
            .prepare_cached(self.select)?
            .each(&[], |row| {
                let start = waiting.len();
                for column in 0..self.width {
                    waiting.push(row.get::<Owned>(column)?);
                }
                read.add(&waiting[start..]);
                if waiting.len() == self.width * ROWS_AT_ONCE {
                    write(target, self.insert_many, &waiting)?;
                    waiting.clear();
                }
                Ok(true)
            })
            .with_context(|| format!("cannot copy {name}"))?;
        for row in waiting.chunks(self.width) {
            write(target, self.insert_one, row).with_context(|| format!("cannot copy {name}"))?;
        }
        let mut written = Digest::default();
        target.prepare_cached(self.select)?.each(&[], |row| {
            written.add(&self.cells(row)?);
            Ok(true)
        })?;
        ensure!(read == written, "{name} differs after it was written; nothing was kept");
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

/// A value out of one database on its way to the other.
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
            // What PostgreSQL cannot keep is written as it would be.
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

/// What a table holds, whatever the order: the count of its rows and the sum of their SHA-256.
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

    /// Tables of a schema, as its text says.
    fn made(sql: &str) -> Vec<&str> {
        let parts = sql.split("CREATE TABLE ").skip(1);
        parts.map(|rest| rest.split([' ', '(']).next().unwrap()).collect()
    }

    #[test]
    fn every_table_is_copied_but_those_of_the_nodes_and_of_who_is_signed_in() {
        let sql = [
            include_str!("../../migrations/postgres/0005_initial.sql"),
            include_str!("../../migrations/postgres/0006_sessions.sql"),
        ];
        let own = ["dossier_schema", "key_fingerprints", "job_leases", "sessions", "sign_in_links"];
        let mut expected: Vec<_> =
            sql.into_iter().flat_map(made).filter(|table| !own.contains(table)).collect();
        expected.sort_unstable();
        let mut copied = TABLES.to_vec();
        copied.sort_unstable();
        assert_eq!(copied, expected);
    }
}
