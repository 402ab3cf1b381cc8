//! Keeps `docs/file-types.md` true: what is accepted, and what becomes of every sample under
//! every kind of name (bars S1 and S3). `UPDATE_DOCS=1 cargo test docs_` writes it anew.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use super::samples::{Sample, samples};
use super::{Sent, decide, sniff};
use crate::domain::media_type::{MediaType, REFUSED_IMAGES, SUPPORTED_DOCUMENTS, extensions_of};

const DOCUMENT: &str = "docs/file-types.md";

/// The image types with a certain content; all others are the open end of `image/*`.
const IMAGES: [&str; 9] = [
    "image/jpeg",
    "image/png",
    "image/apng",
    "image/gif",
    "image/heic",
    "image/avif",
    "image/jxl",
    "image/jp2",
    "image/vnd.adobe.photoshop",
];

/// Names that each sample is tried under, with the type that is announced for them.
const COLUMNS: [(&str, &str); 12] = [
    ("jpg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("avif", "image/avif"),
    ("cr2", "image/x-canon-cr2"),
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("doc", "application/msword"),
    ("exe", "image/png"),
    ("html", "text/csv"),
];

#[test]
fn docs_tell_what_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let fresh = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{DOCUMENT} is stale: UPDATE_DOCS=1 cargo test docs_");
}

fn document() -> String {
    let mut text = String::from(
        "# What files are accepted\n\n\
         Made by `UPDATE_DOCS=1 cargo test docs_`; a test fails when it is stale.\n\n\
         ## Types and extensions\n\n\
         A name's extension must belong to the type, or be unknown, or be missing. Sizes are \
         bounded by `upload_max_bytes`; an Office document may say that it unpacks to 4 GiB at \
         most.\n\n\
         | type | extensions |\n|---|---|\n",
    );
    for name in SUPPORTED_DOCUMENTS.iter().chain(&IMAGES) {
        let extensions = extensions_of(&MediaType::parse(name).unwrap()).join(", ");
        writeln!(text, "| `{name}` | {extensions} |").unwrap();
    }
    text.push_str("| any other `image/…` | any that belongs to no other type |\n\nRefused: ");
    let refused: Vec<String> = REFUSED_IMAGES.iter().map(|name| format!("`{name}`")).collect();
    text.push_str(&refused.join(", "));
    text.push_str(
        ".\n\n## Content, name and type\n\n\
         What is stored when each file is uploaded under each name with the type that fits the \
         name, in the last two columns with one that does not: **kept**, or refused by its \
         content (c) or by its extension (e).\n\n",
    );
    table(&mut text, &samples());
    text.push_str(
        "\nWith `Content-Type: application/octet-stream` the content may correct the announced \
         type, as long as the extension fits. Files that are two things at once, as *gif with \
         script*, *png with page* or *pdf with zip*, count as the one that they begin as, and are \
         served as nothing else: `nosniff`, `Content-Security-Policy: sandbox`.\n",
    );
    text
}

fn table(text: &mut String, samples: &[Sample]) {
    text.push_str("| file | holds |");
    for (extension, _) in COLUMNS {
        write!(text, " .{extension} |").unwrap();
    }
    writeln!(text, "\n|---|---|{}", "---|".repeat(COLUMNS.len())).unwrap();
    for sample in samples {
        write!(text, "| {} | {} |", sample.label, sample.found.name()).unwrap();
        for (extension, declared) in COLUMNS {
            write!(text, " {} |", outcome(&sample.bytes, extension, declared)).unwrap();
        }
        text.push('\n');
    }
}

fn outcome(bytes: &[u8], extension: &str, declared: &str) -> &'static str {
    let found = sniff(&mut Cursor::new(bytes), bytes.len() as u64).unwrap();
    let declared = MediaType::parse(declared).unwrap();
    match decide(&declared, Sent::Unspecified, &format!("a.{extension}"), &found) {
        Ok(_) => "**kept**",
        Err(super::TypeMismatch::Extension { .. }) => "e",
        Err(_) => "c",
    }
}
