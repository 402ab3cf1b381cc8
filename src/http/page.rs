//! The web page: the files of `page/`, compiled into the program. Its policy lets a browser load
//! nothing from elsewhere but images of the media host (S11, S12).

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::attachments::Ids;
use crate::app::App;
use crate::domain::hex;
use crate::error::{Error, Result};

/// Why the page is disabled, and how to enable it.
pub(super) const OFF: &str = "the page is disabled, because it should not share a host with the \
                              stored files. Set media_url to a separate host, or page = \"on\"";
/// The HTML's placeholder for the version of the files that it loads.
const VERSION_MARK: &str = "{version}";
const HTML: &str = include_str!("../../page/index.html");

/// The tags around the inline style and script, which render before any file is loaded.
const STYLE: (&str, &str) = ("<style>", "</style>");
const SCRIPT: (&str, &str) = ("<script>", "</script>");

/// A file and its type.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    plain: &'static [u8],
    gzip: Bytes,
}

/// All files and their version. The version is part of their URLs, so they can be cached
/// indefinitely.
struct Assets {
    files: Vec<Asset>,
    version: String,
    html: Bytes,
    html_gzip: Bytes,
    /// CSP source expressions of the inline style and script.
    style: String,
    script: String,
}

/// Embeds the files of `page/` with their types.
macro_rules! assets {
    ($($name:literal $media_type:literal),* $(,)?) => {
        [$(($name, $media_type, include_bytes!(concat!("../../page/", $name)).as_slice())),*]
    };
}

const FILES: &[(&str, &str, &[u8])] = &assets![
    "app.js" "text/javascript; charset=utf-8",
    "icon.svg" "image/svg+xml",
    "css/base.css" "text/css; charset=utf-8",
    "css/views.css" "text/css; charset=utf-8",
    "lib/api.js" "text/javascript; charset=utf-8",
    "lib/choose.js" "text/javascript; charset=utf-8",
    "lib/deleting.js" "text/javascript; charset=utf-8",
    "lib/format.js" "text/javascript; charset=utf-8",
    "lib/icons.js" "text/javascript; charset=utf-8",
    "lib/route.js" "text/javascript; charset=utf-8",
    "lib/strings.js" "text/javascript; charset=utf-8",
    "lib/theme.js" "text/javascript; charset=utf-8",
    "lib/types.js" "text/javascript; charset=utf-8",
    "lib/ui.js" "text/javascript; charset=utf-8",
    "lib/uploads.js" "text/javascript; charset=utf-8",
    "lib/virtual.js" "text/javascript; charset=utf-8",
    "lib/whole.js" "text/javascript; charset=utf-8",
    "vendor/licences.txt" "text/plain; charset=utf-8",
    "vendor/preact.js" "text/javascript; charset=utf-8",
    "vendor/tus.js" "text/javascript; charset=utf-8",
    "views/contacts.js" "text/javascript; charset=utf-8",
    "views/description.js" "text/javascript; charset=utf-8",
    "views/developer.js" "text/javascript; charset=utf-8",
    "views/file-items.js" "text/javascript; charset=utf-8",
    "views/files.js" "text/javascript; charset=utf-8",
    "views/operations.js" "text/javascript; charset=utf-8",
    "views/shell.js" "text/javascript; charset=utf-8",
    "views/sign-in.js" "text/javascript; charset=utf-8",
    "views/upload-panel.js" "text/javascript; charset=utf-8",
    "views/viewer.js" "text/javascript; charset=utf-8",
    "views/webhooks.js" "text/javascript; charset=utf-8",
];

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    let files = FILES.iter().map(|(name, media_type, plain)| {
        hash.update(name.as_bytes());
        hash.update(plain);
        Asset { name, media_type, plain, gzip: gzip(plain) }
    });
    let files = files.collect();
    let version = hex::encode(&hash.finalize()[..8]);
    let html = HTML.replace(VERSION_MARK, &version);
    let html_gzip = gzip(html.as_bytes());
    let (style, script) = (source_hash(&html, STYLE), source_hash(&html, SCRIPT));
    Assets { files, version, html_gzip, style, script, html: Bytes::from(html) }
});

/// The hash by which a policy allows the inline content between two tags (CSP3 §2.3.1).
fn source_hash(html: &str, (begin, end): (&str, &str)) -> String {
    let source = html.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    let hash = Sha256::digest(source.map_or("", |(source, _)| source));
    format!("'sha256-{}'", STANDARD.encode(hash))
}

/// Compresses a file. Done once, on the first request for the page.
fn gzip(plain: &[u8]) -> Bytes {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let packed = packed.write_all(plain).and_then(|()| packed.finish());
    packed.unwrap_or_default().into()
}

/// GET `/`.
pub(super) async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    if !app.page_is_on {
        return Err(Error::PermissionDenied { problem: OFF.to_owned() });
    }
    let (html, packed) = (ASSETS.html.clone(), ASSETS.html_gzip.clone());
    let mut response = file("text/html; charset=utf-8", html, packed, &headers);
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::try_from(content_security_policy(&app)) {
        out.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "geolocation=(), microphone=(), payment=(), usb=()"),
    ] {
        out.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Ok(response)
}

/// GET `/page/{version}/{file}`. A different version comes from a page loaded before an update.
pub(super) async fn asset(path: Ids<(String, String)>, headers: HeaderMap) -> Result<Response> {
    let Path((version, name)) = path.map_err(|_| not_found())?;
    let assets = &*ASSETS;
    let found = assets.files.iter().find(|asset| asset.name == name);
    let asset = found.filter(|_| version == assets.version).ok_or_else(not_found)?;
    let plain = Bytes::from_static(asset.plain);
    let mut response = file(asset.media_type, plain, asset.gzip.clone(), &headers);
    let immutable = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, immutable);
    Ok(response)
}

fn not_found() -> Error {
    Error::NotFound { what: "this page file", data: json!({}) }
}

fn file(media_type: &'static str, plain: Bytes, packed: Bytes, headers: &HeaderMap) -> Response {
    let reads_gzip = headers.get(header::ACCEPT_ENCODING).is_some_and(|accepted| {
        accepted.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii() == b"gzip")
    });
    let mut response = Response::new(Body::from(if reads_gzip { packed } else { plain }));
    *response.status_mut() = StatusCode::OK;
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if reads_gzip {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Allows images from the media host and uploads to the public URL, whatever host name the page was
/// opened under.
fn content_security_policy(app: &App) -> String {
    let origin = |url: &str| Url::parse(url).map(|url| url.origin().ascii_serialization());
    let (media, public) = (origin(&app.media_url), origin(&app.public_url));
    let (media, public) = (media.unwrap_or_default(), public.unwrap_or_default());
    format!(
        "default-src 'self'; script-src 'self' {}; style-src 'self' {}; img-src 'self' blob: {media}; \
         connect-src 'self' {public}; frame-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        ASSETS.script, ASSETS.style
    )
}
