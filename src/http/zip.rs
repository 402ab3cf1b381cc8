//! GET `/dossier/v1/contacts/{contact}/zip`: a contact's files as one ZIP, generated while it is
//! sent. Each file is opened when it is reached, exactly as its link opens it. If one was deleted
//! meanwhile, the connection is aborted, because `Content-Length` was already sent.

use std::io;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use crc32fast::Hasher;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::attachments::{Ids, ids};
use super::auth::Caller;
use super::file_body::{self, Segment};
use super::files::distinct;
use super::media_answer::{safe_headers, set};
use super::request::{CONTACT_ID, Query, Violations, same_guid};
use super::upload_urls::Field;
use crate::actions::download::{self, Content, MediaVariant};
use crate::app::App;
use crate::db::{ContactState, FileOrder, FileSearch};
use crate::domain::attachment::Attachment;
use crate::domain::content_disposition::{Disposition, content_disposition};
use crate::domain::ids::{AttachmentId, ContactId, SiteId};
use crate::domain::media_type::types_of;
use crate::domain::scope::Scope;
use crate::domain::zip_form::Plan;
use crate::error::{Error, Result, Rule, Violation};

/// Most files of an archive: their metadata is held in memory, some hundred bytes each.
pub(super) const MAX_FILES: u32 = 10_000;
/// Most ids in a URL.
pub(super) const MAX_IDS: usize = 200;

/// Sends all files of a contact, or those in `ids`.
pub(super) async fn zip(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let (path, query) = (ids(path)?, Query::parse(query.as_deref()));
    let mut violations = Violations::default();
    let contact = violations.collect(same_guid(CONTACT_ID, [path.as_str()]));
    let requested = violations.collect(requested_ids(&query)).flatten();
    violations.check()?;
    let (site, contact) = (caller.site().id, ContactId(contact.unwrap_or_default()));
    let permit = Arc::clone(&app.zip_permits).try_acquire_owned();
    let permit = permit.map_err(|_| Error::Busy { retry_after_seconds: 1 })?;
    let found = app.db.contact(site, contact).await?;
    let found = found.filter(|found| found.state == ContactState::Active);
    let found = found.ok_or_else(|| Error::no_contact(contact))?;
    let files = match requested {
        Some(requested) => app.db.files_by_id(site, contact, requested).await?,
        None => all(&app, site, contact).await?,
    };
    let mut plan = Plan::default();
    for file in &files {
        plan.add(&file.file_name, file.size_bytes, file.created_at_ms);
    }
    let total_bytes = plan.total_bytes();
    let files: Vec<AttachmentId> = files.iter().map(|file| file.id).collect();
    let name = found.label.filter(|label| !label.is_empty()).unwrap_or(contact.to_string());
    let stream_state = ZipStream {
        app,
        site,
        files,
        plan,
        next: 0,
        open: None,
        directory: Vec::new(),
        _permit: permit,
    };
    let mut response =
        Response::new(Body::from_stream(stream::try_unfold(stream_state, ZipStream::step)));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(total_bytes));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let disposition = content_disposition(Disposition::Attachment, &format!("{name}.zip"));
    set(out, header::CONTENT_DISPOSITION, &disposition);
    safe_headers(out);
    Ok(response)
}

/// The comma-separated ids in `ids`.
fn requested_ids(query: &Query<'_>) -> Field<Option<Vec<AttachmentId>>> {
    let field = "ids";
    let Some(text) = query.one(field)? else { return Ok(None) };
    if text.split(',').nth(MAX_IDS).is_some() {
        let description = format!("must contain at most {MAX_IDS} ids");
        return Err(Violation::new(field, Rule::Max(MAX_IDS as u64), description));
    }
    distinct(field, text.split(',')).map(Some)
}

async fn all(app: &App, site: SiteId, contact: ContactId) -> Result<Vec<Attachment>> {
    let search = FileSearch { text: String::new(), types: types_of(&[]), order: FileOrder::Oldest };
    let page = app.db.files(site, contact, search, None, MAX_FILES).await?;
    if page.total > u64::from(MAX_FILES) {
        return Err(Error::Conflict {
            code: "TOO_MANY_FILES",
            problem: format!("the contact has more than {MAX_FILES} files; select some with ids"),
            data: json!({ "limit": MAX_FILES, "files": page.total }),
        });
    }
    Ok(page.files.into_iter().map(|file| file.attachment).collect())
}

/// An archive being sent. It is dropped when the client disconnects, with the open file.
struct ZipStream {
    app: Arc<App>,
    site: SiteId,
    files: Vec<AttachmentId>,
    plan: Plan,
    next: usize,
    open: Option<OpenFile>,
    directory: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

/// The file being sent.
struct OpenFile {
    body: BodyDataStream,
    crc32: Hasher,
    remaining_bytes: u64,
}

impl ZipStream {
    /// Returns the next piece of the archive, or `None` at its end.
    async fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if let Some(mut open) = self.open.take() {
            if let Some(bytes) = open.body.next().await {
                let bytes = bytes.map_err(io::Error::other)?;
                open.crc32.update(&bytes);
                let remaining = open.remaining_bytes.checked_sub(bytes.len() as u64);
                open.remaining_bytes =
                    remaining.ok_or_else(|| io::Error::other("a file grew while it was sent"))?;
                self.open = Some(open);
                return Ok(Some((bytes, self)));
            }
            if open.remaining_bytes > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let entry = &self.plan.entries()[self.next];
            let crc32 = open.crc32.finalize();
            let descriptor = entry.descriptor(crc32);
            self.directory.extend(entry.directory_header(crc32));
            self.next += 1;
            return Ok(Some((descriptor.into(), self)));
        }
        let Some(id) = self.files.get(self.next).copied() else {
            // After the last file comes the directory; `next` then passes the end.
            if self.next > self.files.len() {
                return Ok(None);
            }
            self.next += 1;
            let mut end = std::mem::take(&mut self.directory);
            end.extend(self.plan.end());
            return Ok(Some((end.into(), self)));
        };
        let entry = &self.plan.entries()[self.next];
        let (size_bytes, header) = (entry.size_bytes(), entry.local_header());
        let body = body(&self.app, self.site, id, size_bytes).await?;
        self.open = Some(OpenFile { body, crc32: Hasher::new(), remaining_bytes: size_bytes });
        Ok(Some((header.into(), self)))
    }
}

async fn body(
    app: &Arc<App>,
    site: SiteId,
    id: AttachmentId,
    size_bytes: u64,
) -> io::Result<BodyDataStream> {
    let opened = download::open(app, site, id, MediaVariant::Original).await;
    let opened = opened.map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
    let content = match opened.content {
        Content::Redirect(remote) => Content::Remote(remote),
        here => here,
    };
    let whole = vec![Segment::File { offset: 0, length: size_bytes }];
    Ok(file_body::body(content, whole).into_data_stream())
}
