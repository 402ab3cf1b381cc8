//! The files of the page, as embedded in the program and served (S11, S12).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use sha2::{Digest as _, Sha256};

use crate::support::{Response, TestApp};

/// Files in `page/` for bundlers, which are not served.
const NOT_SERVED: [&str; 4] =
    ["index.html", "vendor/package.json", "vendor/package-lock.json", "vendor/.npmrc"];

/// Every file below `page/` by its name there.
fn files() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            if path.is_dir() && !name.ends_with("node_modules") {
                folders.push(path);
            } else if path.is_file() && !NOT_SERVED.contains(&&*name) {
                files.push((name, path));
            }
        }
    }
    files
}

#[tokio::test]
async fn every_file_of_the_page_is_served_under_the_common_version() {
    let app = TestApp::start().await;
    let html = String::from_utf8(Response::to(app.anonymous(Method::GET, "/")).await.body).unwrap();
    let version = html.split("/page/").nth(1).unwrap().split('/').next().unwrap();
    assert!(!html.contains("{version}"), "{html}");
    let files = files();
    assert!(files.len() > 20, "only {} files were found", files.len());
    for (name, path) in files {
        let target = format!("/page/{version}/{name}");
        let response = Response::to(app.anonymous(Method::GET, &target)).await;
        assert_eq!(response.status, 200, "{name}: add it to src/http/page.rs");
        assert_eq!(response.body, std::fs::read(path).unwrap(), "{name}");
        assert!(response.header("cache-control").contains("immutable"), "{name}");
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{name}");
        let packed = app.anonymous(Method::GET, &target).header("accept-encoding", "br, gzip");
        let packed = Response::to(packed).await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{name}");
        assert!(packed.body.starts_with(&[0x1f, 0x8b]), "{name}");
    }
    for other in [format!("/page/{version}/none.js"), "/page/0000000000000000/app.js".to_owned()] {
        let response = Response::to(app.anonymous(Method::GET, &other)).await;
        assert_eq!(response.rejection(), (404, "NOT_FOUND".to_owned()), "{other}");
    }
}

#[tokio::test]
async fn s11_the_page_may_only_load_pictures_from_the_media_host() {
    let app = TestApp::start_with(&[("media_url", "https://files.example.net/")]).await;
    let response = Response::to(app.anonymous(Method::GET, "/")).await;
    let policy = response.header("content-security-policy");
    let base = &app.base;
    for part in [
        "default-src 'self';",
        "img-src 'self' blob: https://files.example.net;",
        &format!("connect-src 'self' {base};"),
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{part} is missing from {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.header("referrer-policy"), "no-referrer");
    assert_eq!(response.header("cache-control"), "no-store");
    let html = String::from_utf8(response.body.clone()).unwrap();
    assert!(!html.contains("style="), "{html}");
    // The inline script and style are allowed by their hashes.
    for tag in ["script", "style"] {
        let sources: Vec<&str> = html.split(&format!("<{tag}>")).skip(1).collect();
        let source = sources[0].split(&format!("</{tag}>")).next().unwrap();
        let hash = STANDARD.encode(Sha256::digest(source));
        assert!(policy.contains(&format!("{tag}-src 'self' 'sha256-{hash}';")), "{policy}");
        assert_eq!(sources.len(), 1, "{html}");
    }
}

/// What a module imports before it runs, relative to the page's root.
fn imports(name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let text = std::fs::read_to_string(root.join(name)).unwrap();
    let folder = Path::new(name).parent().unwrap();
    let named = text.split("from '").skip(1).filter_map(|rest| rest.split('\'').next());
    let named = named.filter(|one| one.starts_with('.'));
    let path = |one: &str| match one.strip_prefix("../") {
        Some(up) => up.to_owned(),
        None => folder.join(one.trim_start_matches("./")).display().to_string(),
    };
    named.map(path).collect()
}

#[tokio::test]
async fn modules_of_the_first_view_are_preloaded() {
    let mut needed = vec!["app.js".to_owned()];
    let mut at = 0;
    while at < needed.len() {
        for name in imports(&needed[at]) {
            if !needed.contains(&name) {
                needed.push(name);
            }
        }
        at += 1;
    }
    let app = TestApp::start().await;
    let html = String::from_utf8(Response::to(app.anonymous(Method::GET, "/")).await.body).unwrap();
    let named = |line: &str| {
        line.split("/page/").nth(1)?.split_once('/')?.1.split_once('"').map(|it| it.0.to_owned())
    };
    let preloads = html.lines().filter(|line| line.contains("modulepreload"));
    let mut preloads: Vec<String> = preloads.filter_map(named).collect();
    preloads.push("app.js".to_owned());
    needed.sort();
    preloads.sort();
    assert_eq!(preloads, needed, "add it to page/index.html");
}
