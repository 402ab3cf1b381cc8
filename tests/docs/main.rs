//! The book: its table of contents, its index for language models, and its generated pages.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` renews docs/settings.md, docs/http-api.md, docs/errors.md and
//! docs/metrics.md. `tests/book` runs the snippets of all pages.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod errors;
mod http_api;
mod metrics;
mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest that the README may be.
const MAX_README_LINES: usize = 150;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_default()
}

/// Compares a generated page with its file, or writes the file when `UPDATE_DOCS` is set.
fn assert_up_to_date(name: &str, generated: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path(name), generated).unwrap();
    }
    assert!(read(name) == generated, "{name} is stale: UPDATE_DOCS=1 cargo test --test docs");
}

/// Text for the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

/// The pages of the book, by their file names.
fn pages() -> BTreeSet<String> {
    let names = fs::read_dir(path("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| is_page(name) && name != "SUMMARY.md").collect()
}

/// The pages that a file links to as `](name.md)`.
fn linked(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| is_page(target)).map(str::to_owned).collect()
}

fn is_page(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "md")
}

#[test]
fn the_table_of_contents_and_llms_txt_list_every_page_once() {
    for name in ["docs/SUMMARY.md", "docs/llms.txt"] {
        let listed = linked(&read(name));
        let distinct: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(distinct, pages(), "{name}");
        assert_eq!(listed.len(), distinct.len(), "{name} lists a page twice");
    }
}

#[test]
fn titles_in_the_table_of_contents_are_those_of_the_pages() {
    let summary = read("docs/SUMMARY.md");
    for page in pages() {
        let text = read(&format!("docs/{page}"));
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
        assert!(summary.contains(&format!("- [{title}]({page})")), "SUMMARY.md: {page} is {title}");
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().to_lowercase().replace(' ', "-");
    letters.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn links_to_a_heading_lead_to_one() {
    let mut lost = Vec::new();
    for page in pages() {
        let text = read(&format!("docs/{page}"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((target, wanted)) = link.split_once('#') else { continue };
            if target.contains("://") {
                continue;
            }
            let target = if target.is_empty() { &page } else { target };
            let headings = read(&format!("docs/{target}"));
            let headings = headings.lines().filter(|line| line.starts_with('#'));
            if !headings.map(|line| anchor(line.trim_start_matches('#'))).any(|a| a == wanted) {
                lost.push(format!("{page} links to {link}"));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= MAX_README_LINES, "{lines} lines: move some to a page of docs/");
}
