//! Generates docs/http-api.md from the description of the HTTP API.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use dossier::http::openapi;
use serde_json::Value;

use crate::{assert_up_to_date, cell};

const INTRODUCTION: &str = "\
# HTTP API

The complete description is OpenAPI 3.1: `docs/openapi.json` in the source, `/dossier/v1/openapi.json` on every server, and
`dossier openapi` in the terminal. The page shows it under Developer. This is its summary.

```sh
dossier openapi > openapi.json
curl -s http://127.0.0.1:8080/dossier/v1/openapi.json
```

```json
{\"openapi\": \"3.1.0\", \"paths\": {}, \"components\": {}}
```

- **Paths** below `/contacts/v4/attachments` are the vendor's contract ([The wire contract](contract.md)); they are also
  served below `/_api/contacts/v4/attachments`. All others are Dossier's own.
- **Authority**: `VIEW`, `MODIFY` and `ADMIN` are scopes of an API key, in the header `Authorization`, bare or after `Bearer `.
  `any key` needs no scope. A session of the page acts for its key, with the scopes of that key. `link` is a signed link,
  `upload URL` a signed upload URL; both carry their own authority. `public` needs none.
- **Sites**: with more than one site, `wix-site-id` names the key's own.
- **Status codes**: every route can also return 500 and 503. [Errors](errors.md) explains them and their codes.
- **Fields** may be added. Ignore fields that you do not know.
";

const METHODS: [&str; 6] = ["get", "head", "put", "post", "patch", "delete"];

struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    value: &'a Value,
}

/// The operations without those that only repeat another one at a second path.
fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        let plain = path.strip_prefix("/_api").unwrap_or(path).trim_end_matches('/');
        if plain != path && paths.contains_key(plain) {
            continue;
        }
        for method in METHODS {
            if let Some(value) = item.get(method) {
                operations.push(Operation { method, path, value });
            }
        }
    }
    operations
}

/// What a caller needs.
fn authority(operation: &Operation<'_>) -> String {
    let schemes: BTreeSet<&str> = operation.value["security"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|scheme| scheme.as_object().unwrap().keys().map(String::as_str))
        .collect();
    if schemes.contains("apiKey") {
        let scope = operation.value["x-scope"].as_str().unwrap();
        let scope = scope.rsplit('.').next().unwrap_or_default();
        return if scope == "any" { "any key".to_owned() } else { format!("`{scope}`") };
    }
    let name = match schemes.first() {
        Some(&"linkToken") => "link",
        Some(_) => "session",
        None if operation.path.starts_with("/upload/") => "upload URL",
        None => "public",
    };
    name.to_owned()
}

/// The status codes without 500 and 503, which every operation has.
fn statuses(operation: &Operation<'_>) -> String {
    let responses = operation.value["responses"].as_object().unwrap();
    let all: BTreeSet<&str> = responses.keys().map(String::as_str).collect();
    let common = BTreeSet::from(["500", "503"]);
    assert!(common.is_subset(&all), "{} {}", operation.method, operation.path);
    all.difference(&common).copied().collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let document = openapi();
    let operations = operations(&document);
    let mut text = INTRODUCTION.to_owned();
    text.push_str(
        "\n<!-- Generated from src/http/openapi by UPDATE_DOCS=1 cargo test --test docs -->\n",
    );
    for tag in document["tags"].as_array().unwrap() {
        let name = tag["name"].as_str().unwrap();
        let title = name[..1].to_uppercase() + &name[1..];
        let description = tag["description"].as_str().unwrap();
        writeln!(text, "\n## {title}\n\n{description}\n").unwrap();
        text.push_str("| request | purpose | needs | status codes |\n|---|---|---|---|\n");
        for operation in operations.iter().filter(|one| one.value["tags"][0] == name) {
            let method = operation.method.to_uppercase();
            let summary = cell(operation.value["summary"].as_str().unwrap());
            let (needs, statuses) = (authority(operation), statuses(operation));
            let path = operation.path;
            writeln!(text, "| {method} `{path}` | {summary} | {needs} | {statuses} |").unwrap();
        }
    }
    text
}

#[test]
fn every_route_is_in_the_book() {
    let document = openapi();
    let text = page();
    for Operation { method, path, .. } in operations(&document) {
        let row = format!("| {} `{path}` |", method.to_uppercase());
        assert_eq!(text.matches(&row).count(), 1, "{row}");
    }
    assert_up_to_date("docs/http-api.md", &text);
}
