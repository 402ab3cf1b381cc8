//! Where a test's rows are stored. If `TEST_POSTGRES` names a PostgreSQL server on which databases
//! may be created, every server under test, in this process or its own, uses one database per data
//! folder. Otherwise rows are in SQLite.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, OnceLock};

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The database of each data folder.
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// The PostgreSQL server for tests, if one is set.
fn server() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "it configures the test run, not the program")]
    std::env::var("TEST_POSTGRES").ok()
}

/// The database of a data folder, created on first use; `None` means SQLite in the folder.
pub(crate) fn url_for(data: &Path) -> Option<String> {
    let server = server()?;
    if let Some(known) = KNOWN.lock().unwrap().get(data) {
        return Some(known.clone());
    }
    let name = format!("t_{}", Uuid::new_v4().simple());
    execute(&server, format!("CREATE DATABASE {name} TEMPLATE {}", template(&server)));
    let url = sibling_url(&server, &name);
    Some(KNOWN.lock().unwrap().entry(data.to_owned()).or_insert(url).clone())
}

/// A database without tables, as before the first start.
pub(crate) fn empty_url() -> Option<String> {
    let server = server()?;
    let name = format!("empty_{}", Uuid::new_v4().simple());
    execute(&server, format!("CREATE DATABASE {name}"));
    Some(sibling_url(&server, &name))
}

/// The URL of another database on the same server.
fn sibling_url(server: &str, name: &str) -> String {
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

/// A database with every table and no rows. Tests copy it, which is faster than running the
/// migrations.
fn template(server: &str) -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let name = format!("template_{}", Uuid::new_v4().simple());
        execute(server, format!("CREATE DATABASE {name}"));
        let folder = tempfile::tempdir().unwrap();
        let migrated = Command::new(super::PROGRAM)
            .args(["migrate", "--data"])
            .arg(folder.path())
            .env_clear()
            .env("DOSSIER_DATABASE_URL", sibling_url(server, &name))
            .output()
            .unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
        name
    })
}

/// Makes two data folders share a database.
pub(crate) fn share(from: &Path, to: &Path) {
    // Only PostgreSQL can be shared between nodes: scripts/postgres.
    let url = url_for(from).unwrap();
    KNOWN.lock().unwrap().insert(to.to_owned(), url);
}

/// Gives a data folder a copy of another one's rows. The other server must have stopped.
pub(crate) fn copy(from: &Path, to: &Path) {
    let (Some(server), Some(url)) = (server(), url_for(from)) else {
        std::fs::copy(from.join("dossier.db"), to.join("dossier.db")).unwrap();
        return;
    };
    let (base, name) = url.rsplit_once('/').unwrap();
    let copy = format!("t_{}", Uuid::new_v4().simple());
    // Closed connections may still be ending.
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    execute(&server, end);
    execute(&server, format!("CREATE DATABASE {copy} TEMPLATE {name}"));
    KNOWN.lock().unwrap().insert(to.to_owned(), format!("{base}/{copy}"));
}

/// Runs statements on a database.
pub(crate) fn execute(url: &str, statements: String) {
    on_own_thread(
        async move |client: Client| client.batch_execute(&statements).await.unwrap(),
        url.to_owned(),
    );
}

/// The number that a query returns.
pub(crate) fn query_number(url: String, question: String) -> i64 {
    on_own_thread(
        async move |client: Client| client.query_one(&question, &[]).await.unwrap().get(0),
        url,
    )
}

/// Changes rows behind the server's back, in whichever database its data folder uses.
pub(crate) fn change(data: &Path, statement: &str) {
    match url_for(data) {
        Some(url) => execute(&url, statement.to_owned()),
        None => rusqlite::Connection::open(data.join("dossier.db"))
            .and_then(|database| database.execute_batch(statement))
            .unwrap(),
    }
}

/// An id as a literal for [`change`].
pub(crate) fn id_literal(data: &Path, id: Uuid) -> String {
    match url_for(data) {
        Some(_) => format!("'{id}'"),
        None => format!("x'{}'", id.simple()),
    }
}

/// Every row of a database, as text.
pub(crate) fn rows(url: String) -> Vec<String> {
    on_own_thread(
        async |client: Client| {
            let tables = client
                .query(
                    "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' \
                     AND tablename <> 'job_leases' ORDER BY 1",
                    &[],
                )
                .await
                .unwrap();
            let mut all = Vec::new();
            for table in tables {
                let table: String = table.get(0);
                let rows = client
                    .query(&format!("SELECT t::text FROM {table} t ORDER BY 1"), &[])
                    .await
                    .unwrap();
                all.extend(rows.iter().map(|row| format!("{table} {}", row.get::<_, String>(0))));
            }
            all
        },
        url,
    )
}

/// Runs work with a connection, on its own thread and runtime.
fn on_own_thread<T: Send + 'static>(
    work: impl AsyncFnOnce(Client) -> T + Send + 'static,
    url: String,
) -> T {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            let work = work(client);
            let (worked, _) = tokio::join!(work, connection);
            worked
        })
    });
    thread.join().unwrap()
}
