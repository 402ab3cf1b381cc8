//! List, get and delete (contract §2).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use headers::{HeaderMapExt as _, IfNoneMatch};
use serde_json::json;

use super::answer;
use super::auth::Caller;
use super::request::{
    ATTACHMENT_ID, CONTACT_ID, Query, Violations, json_object, malformed, paging, same_guid,
    text_field,
};
use crate::actions;
use crate::app::App;
use crate::config::MediaReferences;
use crate::db::{AttachmentRow, Rows, Site};
use crate::domain::ids::{AttachmentId, ContactId};
use crate::domain::paging::Paging;
use crate::domain::scope::Scope;
use crate::error::{Error, Result};
use crate::page_cache::{MediaView, Page, PageKey};
use crate::wire::{self, Shapes};

/// What the official SDK calls itself in every request (contract §5).
const SDK_HEADER: &str = "x-wix-bi-gateway";
const SDK_MARK: &str = "environment=js-sdk";

pub(super) type Ids<T> = std::result::Result<Path<T>, PathRejection>;

/// GET `/contacts/v4/attachments/{contactId}`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let (path, query) = (ids(path)?, Query::parse(query.as_deref()));
    let copies = std::iter::once(path.as_str()).chain(query.all(CONTACT_ID));
    let mut violations = Violations::default();
    let contact = violations.take(same_guid(CONTACT_ID, copies));
    let paging = paging(&query, None, &mut violations);
    violations.check()?;
    answer_list(&app, &caller, &headers, ContactId(contact.unwrap_or_default()), paging).await
}

/// GET `/contacts/v4/attachments`, with the contact in a JSON body, as the seed's curl sends
/// it, or in the query.
pub(super) async fn list_by_body(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let body = json_object(body, idle(&app)).await?;
    let query = Query::parse(query.as_deref());
    let mut violations = Violations::default();
    let in_body = violations.take(text_field(&body, CONTACT_ID));
    let contact = in_body.and_then(|in_body| {
        violations.take(same_guid(CONTACT_ID, query.all(CONTACT_ID).chain(in_body)))
    });
    let paging = paging(&query, Some(&body), &mut violations);
    violations.check()?;
    answer_list(&app, &caller, &headers, ContactId(contact.unwrap_or_default()), paging).await
}

async fn answer_list(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    contact: ContactId,
    paging: Paging,
) -> Result<Response> {
    let site = caller.site();
    let key = PageKey {
        site: site.id,
        contact,
        paging,
        links_expire_s: app.links_expire_s(site),
        view: view(app, headers),
    };
    let page = match app.pages.get(&key) {
        Some(page) if page.change == app.db.change_of(site.id, contact).await? => page,
        _ => make_page(app, site, key).await?,
    };
    // The tag is made of hexadecimal digits, hyphens and quotes.
    let etag =
        HeaderValue::from_maybe_shared(page.etag).unwrap_or(HeaderValue::from_static("\"\""));
    let mut response = if etag_matches(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer::raw_json(StatusCode::OK, page.body)
    };
    let answer = response.headers_mut();
    answer.insert(header::ETAG, etag);
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

fn etag_matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    let tag = etag.to_str().ok().and_then(|tag| tag.parse().ok());
    let given = headers.typed_get::<IfNoneMatch>();
    tag.zip(given).is_some_and(|(tag, given)| !given.precondition_passes(&tag))
}

/// Writes rows on the database's own thread, straight into the answer's buffer.
struct PageWriter {
    app: Arc<App>,
    site: Arc<Site>,
    key: PageKey,
    body: Vec<u8>,
}

async fn make_page(app: &Arc<App>, site: &Arc<Site>, key: PageKey) -> Result<Page> {
    // Room for a full page at once: growing copies, and memory that is not touched costs nothing.
    let mut body =
        Vec::with_capacity(key.paging.limit as usize * wire::ATTACHMENT_JSON_BYTES + 256);
    wire::begin_list(&mut body);
    let writer = PageWriter { app: Arc::clone(app), site: Arc::clone(site), key, body };
    let listed =
        app.db.list(key.site, key.contact, key.paging, writer, PageWriter::write_rows).await?;
    let mut body = listed.visited.body;
    wire::end_list(&mut body, listed.totals, key.paging.offset);
    // The cache counts lengths.
    body.shrink_to_fit();
    // The ids too: the form without an id in the path has one address for all contacts, and
    // keys of several sites may ask at any address (S37).
    let etag = format!(
        "\"{:08x}-{}-{}-{}-{}-{}-{}-{}\"",
        app.links_version,
        site.media_prefix,
        key.contact.0.simple(),
        listed.totals.revision,
        key.links_expire_s,
        key.paging.offset,
        key.paging.limit,
        u8::from(key.view == MediaView::Both)
    );
    let page = Page { change: listed.change, body: Bytes::from(body), etag: Bytes::from(etag) };
    app.pages.insert(key, page.clone());
    Ok(page)
}

impl PageWriter {
    fn write_rows(&mut self, rows: Rows<'_>) {
        let signer = self.app.keys.media_signer(self.key.links_expire_s);
        let shapes = Shapes::new(&self.site, &self.app.media_url, signer, self.key.view);
        shapes.items(&mut self.body, rows);
    }
}

/// GET `/contacts/v4/attachments/{contactId}/{attachmentId}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let (contact, id) = both_ids(path, query.as_deref())?;
    let site = caller.site();
    let attachment = app.db.attachment(site.id, id).await?;
    let attachment = attachment
        .filter(|attachment| attachment.contact_id == contact)
        .ok_or_else(|| Error::no_attachment(contact, id))?;
    let signer = app.keys.media_signer(app.links_expire_s(site));
    let shapes = Shapes::new(site, &app.media_url, signer, view(&app, &headers));
    let mut body = b"{\"attachment\":".to_vec();
    shapes.attachment(&mut body, &AttachmentRow::from(&attachment));
    body.push(b'}');
    Ok(answer::raw_json(StatusCode::OK, body))
}

/// DELETE `/contacts/v4/attachments/{contactId}/{attachmentId}`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let (contact, id) = both_ids(path, query.as_deref())?;
    actions::delete::delete(&app, caller.site().id, contact, id).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// The ids of the path, decoded.
pub(super) fn ids<T>(path: Ids<T>) -> Result<T> {
    path.map(|Path(ids)| ids)
        .map_err(|_| malformed("the path is not valid UTF-8".to_owned(), json!({})))
}

fn both_ids(path: Ids<(String, String)>, query: Option<&str>) -> Result<(ContactId, AttachmentId)> {
    let ((contact, attachment), query) = (ids(path)?, Query::parse(query));
    let mut violations = Violations::default();
    let contact = std::iter::once(contact.as_str()).chain(query.all(CONTACT_ID));
    let contact = violations.take(same_guid(CONTACT_ID, contact));
    let attachment = std::iter::once(attachment.as_str()).chain(query.all(ATTACHMENT_ID));
    let attachment = violations.take(same_guid(ATTACHMENT_ID, attachment));
    violations.check()?;
    Ok((ContactId(contact.unwrap_or_default()), AttachmentId(attachment.unwrap_or_default())))
}

pub(super) fn idle(app: &App) -> Duration {
    Duration::from_secs(app.config.body_idle_seconds)
}

/// SDK callers get a URL that opens: with an id, the SDK would hide it (design §3).
fn view(app: &App, headers: &HeaderMap) -> MediaView {
    match app.config.media_references {
        MediaReferences::Id => MediaView::Both,
        MediaReferences::Url => MediaView::Url,
        MediaReferences::Auto => {
            let caller = headers.get(SDK_HEADER).and_then(|value| value.to_str().ok());
            if caller.is_some_and(|caller| caller.starts_with(SDK_MARK)) {
                MediaView::Url
            } else {
                MediaView::Both
            }
        }
    }
}
