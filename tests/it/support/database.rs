//! Where the rows of a test are. `TEST_POSTGRES` names a PostgreSQL server on which databases may
//! be made: then every server of a test, in this process or in one of its own, keeps its rows in one
//! that belongs to its data folder; otherwise in SQLite.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The database of each data folder.
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// The server for tests, if they are to use one.
fn server() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "it says how the tests are run, not the program")]
    std::env::var("TEST_POSTGRES").ok()
}

/// The database of a data folder, made at the first question; `None` is SQLite in the folder.
pub(crate) fn of(data: &Path) -> Option<String> {
    let server = server()?;
    if let Some(known) = KNOWN.lock().unwrap().get(data) {
        return Some(known.clone());
    }
    let name = format!("t_{}", Uuid::new_v4().simple());
    let url = match server.rsplit_once('/') {
        Some((place, _)) => format!("{place}/{name}"),
        None => server.clone(),
    };
    let make = format!("CREATE DATABASE {name}");
    apart(async move |client: Client| client.batch_execute(&make).await.unwrap(), server);
    Some(KNOWN.lock().unwrap().entry(data.to_owned()).or_insert(url).clone())
}

/// Gives a data folder the database of another one.
pub(crate) fn share(from: &Path, to: &Path) {
    // Nodes share a PostgreSQL: scripts/postgres.
    let url = of(from).unwrap();
    KNOWN.lock().unwrap().insert(to.to_owned(), url);
}

/// Gives a data folder a copy of another one's rows, whose server has stopped.
pub(crate) fn copy(from: &Path, to: &Path) {
    let (Some(server), Some(url)) = (server(), of(from)) else {
        std::fs::copy(from.join("dossier.db"), to.join("dossier.db")).unwrap();
        return;
    };
    let (place, name) = url.rsplit_once('/').unwrap();
    let copy = format!("t_{}", Uuid::new_v4().simple());
    // Connections that were closed may not have ended yet.
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    execute(&server, end);
    execute(&server, format!("CREATE DATABASE {copy} TEMPLATE {name}"));
    KNOWN.lock().unwrap().insert(to.to_owned(), format!("{place}/{copy}"));
}

/// Runs statements on a database.
pub(crate) fn execute(url: &str, statements: String) {
    apart(
        async move |client: Client| client.batch_execute(&statements).await.unwrap(),
        url.to_owned(),
    );
}

/// The number that a question has for its answer.
pub(crate) fn ask(url: String, question: String) -> i64 {
    apart(async move |client: Client| client.query_one(&question, &[]).await.unwrap().get(0), url)
}

/// Changes rows beside a server, in whichever database its data folder has.
pub(crate) fn change(data: &Path, statement: &str) {
    match of(data) {
        Some(url) => execute(&url, statement.to_owned()),
        None => rusqlite::Connection::open(data.join("dossier.db"))
            .and_then(|database| database.execute_batch(statement))
            .unwrap(),
    }
}

/// An id as it stands in a statement of [`change`].
pub(crate) fn id_literal(data: &Path, id: Uuid) -> String {
    match of(data) {
        Some(_) => format!("'{id}'"),
        None => format!("x'{}'", id.simple()),
    }
}

/// Every row of a database, as text.
pub(crate) fn rows(url: String) -> Vec<String> {
    apart(
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

/// Works on a connection, on a thread and a runtime of its own.
fn apart<T: Send + 'static>(
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
