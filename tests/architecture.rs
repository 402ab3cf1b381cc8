//! The rules of ARCHITECTURE.md about the source text, and docs that do not go stale.
//!
//! The layers, top-down. A module imports only from layers below its own; modules of one layer do not
//! import each other:
//!
//! `main → cli → serve → http | jobs → actions → app | wire → request_log → registry | page_cache | media_cache |
//! transform_cache | tls | archive | webhook_keys → db | blobs | rate_limit | single_flight |
//! turns | upload_places | render_workers | webhook_client | client → data_folder → config | metrics →
//! error → domain`
//!
//! `registry`, `page_cache` and `media_cache` are above `db`, whose rows and change counts they keep in
//! memory. `tls` is above `data_folder`, which creates its secrets. `domain` is at the bottom: `error`
//! uses its ids, and it knows no errors but its own. Below all of them are the crates of `crates/`,
//! which know nothing of the server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["serve"],
    &["http", "jobs"],
    &["actions"],
    &["app", "wire"],
    &["request_log"],
    &["registry", "page_cache", "media_cache", "transform_cache", "tls", "archive", "webhook_keys"],
    &[
        "db",
        "blobs",
        "rate_limit",
        "single_flight",
        "turns",
        "upload_places",
        "render_workers",
        "webhook_client",
        "client",
    ],
    &["data_folder"],
    &["config", "metrics"],
    &["error"],
    &["domain"],
];

/// Who may name the file system, and why.
const FILE_SYSTEM: &[(&str, &str)] = &[
    ("src/blobs/mod.rs", "the bytes: opens and hands on their files"),
    ("src/blobs/disk.rs", "the store on disk"),
    ("src/blobs/staged.rs", "an upload's file"),
    ("src/blobs/moving.rs", "an original's file at its new place"),
    ("src/blobs/s3/mod.rs", "fetches into a file without a name"),
    ("src/blobs/s3/reading.rs", "fetches into a file without a name"),
    ("src/blobs/s3/sending.rs", "reads parts from an upload's file"),
    ("src/blobs/results.rs", "its cached pictures"),
    ("src/transform_cache.rs", "hands open files on"),
    ("src/blobs/files.rs", "its calls on files and directories"),
    ("src/blobs/tests.rs", "looks at what the store left behind"),
    ("src/data_folder.rs", "the folder itself, its lock and its secrets"),
    ("src/webhook_keys_tests.rs", "looks at the file of the keys"),
    ("src/config.rs", "the settings file"),
    ("src/config_tests.rs", "writes settings files"),
    ("src/actions/scrub.rs", "reads on in an open file"),
    ("src/archive/read.rs", "a backup, which lies anywhere"),
    ("src/archive/write.rs", "a backup, which lies anywhere"),
    ("src/actions/backup/create.rs", "hands open files to a backup"),
    ("src/domain/sniff/docs_tests.rs", "compares docs/file-types.md"),
    ("src/db/backups.rs", "makes the copy of the rows private"),
    ("src/tls.rs", "certificates and their keys"),
    ("src/webhook_client/tls.rs", "the authorities of receivers"),
    ("src/client/profiles.rs", "the servers that a person has logged in to"),
    ("src/client/journal.rs", "which uploads a person can go on with"),
    ("src/client/source.rs", "reads a file that is sent"),
    ("src/client/upload.rs", "opens a file that is sent"),
    ("src/client/resumable.rs", "holds a file that is sent"),
    ("src/client/download.rs", "writes a file that is fetched"),
    ("src/cli/remote.rs", "reads the file of --ca"),
    ("src/cli/put.rs", "finds the files in a folder"),
    ("src/cli/get.rs", "makes the folder of -o"),
    ("src/cli/generate.rs", "writes manual pages"),
    ("src/cli/demo.rs", "the demo's temporary folder"),
    ("src/actions/download.rs", "holds an open file"),
    ("src/actions/preview.rs", "holds an open file"),
    ("src/actions/upload/receive.rs", "writes to a file that blobs opened"),
    ("src/http/file_body.rs", "sends an open file"),
    ("src/render_workers/mod.rs", "holds an open file"),
    ("src/render_workers/protocol.rs", "hands an open file to a worker"),
    ("src/render_workers/keeper.rs", "looks at what a worker holds in memory"),
    ("src/render_workers/tests.rs", "tries what a worker cannot do any more"),
    ("src/render_workers/worker.rs", "reads an open file"),
    ("src/render_workers/sandbox.rs", "says who goes first when memory runs out"),
];

const MOST_LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of this project by its name from the root, with its text.
struct Source {
    name: String,
    text: String,
}

/// The files with these endings under a folder, without what is built or downloaded.
fn sources(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !is_made(&path, &name) {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push(Source { name, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A folder that no one wrote: hidden, downloaded, or a target folder of cargo, by any name.
fn is_made(path: &Path, name: &str) -> bool {
    let is_downloaded = name == "node_modules" || path.join("pyvenv.cfg").exists();
    name.starts_with('.') || is_downloaded || path.join("CACHEDIR.TAG").exists()
}

fn rust_sources() -> Vec<Source> {
    let folders = ["src", "crates", "tests", "benches", "examples", "fuzz"];
    let sources: Vec<Source> =
        folders.iter().flat_map(|folder| sources(folder, &[".rs"])).collect();
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

/// The text without lines that are comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The top-level module that a file under `src/` belongs to.
fn module(name: &str) -> &str {
    let inside = name.strip_prefix("src/").unwrap();
    let first = inside.split('/').next().unwrap().trim_end_matches(".rs");
    first.trim_end_matches("_tests")
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The top-level modules that a text names as `crate::…`, alone or in a group of any lines.
fn imports(text: &str) -> BTreeSet<String> {
    let text = code(text).replace("in crate::", "");
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => {
                found.insert(word(rest).to_owned());
            }
            Some(group) => found.extend(members(group)),
        }
    }
    found.remove("self");
    found
}

/// The first words of the members of a group, up to its closing brace.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut member) = (0, Vec::new(), String::new());
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => members.push(std::mem::take(&mut member)),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                member.push(character);
            }
        }
    }
    members.push(member);
    let words = members.iter().map(|member| word(member.trim()).to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn imports_are_read_from_lines_paths_and_groups() {
    let text = "use crate::app::App;\n// use crate::serve;\nlet a = crate::db::Db::open();\n\
                use crate::{\n    blobs::{Blobs, Part},\n    error::Error,\n    tls,\n};\n\
                pub(in crate::domain) fn f() {}\n";
    let expected = ["app", "blobs", "db", "error", "tls"].map(str::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}

#[test]
fn modules_import_only_from_layers_below_their_own() {
    let mut upward = Vec::new();
    for source in sources("src", &[".rs"]) {
        let own = module(&source.name);
        if own == "lib" {
            continue;
        }
        let own_layer = layer(own).unwrap_or_else(|| panic!("{own} belongs to no layer"));
        for import in imports(&source.text).iter().filter(|import| *import != own) {
            let layer = layer(import);
            if layer.is_none_or(|layer| layer <= own_layer) {
                upward.push(format!("{} imports {import}", source.name));
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn every_layer_consists_of_modules_that_architecture_md_names() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for module in LAYERS.iter().copied().flatten() {
        let (file, folder) = (format!("src/{module}.rs"), format!("src/{module}"));
        assert!(root().join(file).is_file() || root().join(folder).is_dir(), "{module} is gone");
        let named = text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == *module);
        assert!(named, "ARCHITECTURE.md does not name {module}");
    }
}

/// Fails when a file outside `allowed` names `library::`.
fn only_in(library: &str, allowed: impl Fn(&str) -> bool) {
    let path = format!("{library}::");
    let strangers: Vec<String> = sources("src", &[".rs"])
        .into_iter()
        .filter(|source| !allowed(&source.name) && code(&source.text).contains(&path))
        .map(|source| source.name)
        .collect();
    assert!(strangers.is_empty(), "{library} is named in {}", strangers.join(", "));
}

#[test]
fn http_libraries_stand_in_http_and_serve_only() {
    only_in("axum", |name| name.starts_with("src/http/") || name == "src/serve.rs");
    only_in("tower_http", |name| name.starts_with("src/http/"));
    // Its TLS settings are what the listener is given.
    only_in("axum_server", |name| ["src/serve.rs", "src/tls.rs"].contains(&name));
}

#[test]
fn sql_stands_in_db_only() {
    only_in("rusqlite", |name| name.starts_with("src/db/"));
}

#[test]
fn the_file_system_is_named_where_it_is_listed_only() {
    only_in("std::fs", |name| FILE_SYSTEM.iter().any(|(file, _)| *file == name));
    only_in("tokio::fs", |_| false);
    for (file, reason) in FILE_SYSTEM {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(code(&text).contains("std::fs"), "{file} is listed ({reason}) and needs no longer");
    }
}

/// Decoders work on hostile input inside a sandbox, so the crates take nothing from the system.
#[test]
fn the_crates_below_the_server_are_pure_and_know_nothing_of_it() {
    let foreign = [
        "dossier::",
        "tokio",
        "std::env",
        "std::fs",
        "std::net",
        "std::os",
        "std::process",
        "std::thread",
        "SystemTime",
    ];
    let crates = sources("crates", &[".rs"]);
    let crates: Vec<_> = crates.iter().filter(|source| source.name.contains("/src/")).collect();
    assert!(crates.len() > 30, "the sources were not found");
    for Source { name, text } in crates {
        let found = foreign.iter().find(|foreign| code(text).contains(**foreign));
        assert_eq!(found, None, "{name} uses it");
    }
    for folder in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = fs::read_to_string(folder.unwrap().path().join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for library in manifest["dependencies"].as_table().unwrap().keys() {
            let is_foreign = ["dossier", "tokio", "hyper", "reqwest"].contains(&&**library);
            assert!(!is_foreign, "{} depends on {library}", manifest["package"]["name"]);
        }
    }
}

/// What a build leaves out is the matter of dossier-image, which reports it (`formats`).
#[test]
fn the_server_does_not_depend_on_features() {
    for Source { name, text } in sources("src", &[".rs"]) {
        assert!(!code(&text).contains("feature = "), "{name} names a feature");
    }
}

#[test]
fn files_are_short_and_say_what_they_hold() {
    for Source { name, text } in rust_sources() {
        let lines = text.lines().count();
        assert!(lines < MOST_LINES, "{name} has {lines} lines: make a folder of it");
        let header = text.starts_with("//!") || text.starts_with("#![doc = include_str!");
        // A fuzz target begins with the attribute that takes its main function away.
        let header = header || text.lines().nth(1).is_some_and(|line| line.starts_with("//!"));
        assert!(header, "{name} does not begin with what it holds (//!)");
    }
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let mark = ["TO", "DO"].concat();
    for Source { name, text } in sources("", &[".rs", ".md", ".toml", ".mjs", ".sql", ".py"]) {
        assert!(!text.contains(&mark), "{name} holds a {mark}");
    }
}

/// The targets of `[text](target)`, outside code blocks.
fn links(markdown: &str) -> Vec<String> {
    let prose: String = markdown.split("```").step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

#[test]
fn relative_links_in_the_docs_lead_somewhere() {
    let documents = sources("", &[".md"]);
    assert!(documents.iter().any(|document| document.name == "ARCHITECTURE.md"));
    let mut lost = Vec::new();
    for Source { name, text } in documents {
        for link in links(&text) {
            let file = link.split('#').next().unwrap();
            if file.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let target: PathBuf = root().join(&name).parent().unwrap().join(file);
            if !target.exists() {
                lost.push(format!("{name} links to {file}"));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// A line of `tests/it/on_both.txt` that names no test would run nothing, in silence.
#[test]
fn what_runs_on_both_databases_is_there() {
    let text = fs::read_to_string(root().join("tests/it/on_both.txt")).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (path, reason) = line.split_once(' ').unwrap_or((line, ""));
        assert!(!reason.is_empty(), "on_both.txt: {path} stands there without its reason");
        let (module, test) = path.split_once("::").unwrap();
        let tests = fs::read_to_string(root().join(format!("tests/it/{module}.rs")));
        let tests = tests.unwrap_or_else(|_| panic!("on_both.txt: there is no module {module}"));
        assert!(tests.contains(&format!("fn {test}")), "on_both.txt: there is no test {path}");
    }
}

/// The worst of the words that CONTRIBUTING.md lists under Words.
const WORN_OUT: &[&str] = &[
    "gone on with",
    "goes on with",
    "for ever ",
    "without a wish",
    "is told to",
    "are told to",
    "told again",
    "told anew",
    "whole way of",
    "passed over",
    "may only look",
    "any number, else",
    "is no address of",
    "is revoked since",
];

#[test]
fn the_words_are_the_fields_own() {
    let own = ["CONTRIBUTING.md", "tests/architecture.rs"];
    let mut found = Vec::new();
    for Source { name, text } in sources("", &[".rs", ".md", ".toml", ".js", ".mjs", ".sql", ".py"])
    {
        if own.contains(&&*name) || name.starts_with("page/vendor/") || name.starts_with("build/") {
            continue;
        }
        // A phrase may be broken over two lines of a comment.
        let text = text.replace("\n//! ", " ").replace("\n/// ", " ").replace('\n', " ");
        let text = text.to_lowercase();
        found.extend(
            WORN_OUT
                .iter()
                .filter(|words| text.contains(**words))
                .map(|words| format!("{name} says \"{}\": CONTRIBUTING.md, Words", words.trim())),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
