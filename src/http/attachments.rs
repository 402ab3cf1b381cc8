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
use crate::wire::{self, AttachmentWriter};

/// How the official SDK identifies itself in every request (contract §5).
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
    let contact = violations.collect(same_guid(CONTACT_ID, copies));
    let paging = paging(&query, None, &mut violations);
    violations.check()?;
    list_response(&app, &caller, &headers, ContactId(contact.unwrap_or_default()), paging).await
}

/// GET `/contacts/v4/attachments`, with the contact in the query or in a JSON body, as the vendor's
/// curl example sends it.
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
    let in_body = violations.collect(text_field(&body, CONTACT_ID));
    let contact = in_body.and_then(|in_body| {
        violations.collect(same_guid(CONTACT_ID, query.all(CONTACT_ID).chain(in_body)))
    });
    let paging = paging(&query, Some(&body), &mut violations);
    violations.check()?;
    list_response(&app, &caller, &headers, ContactId(contact.unwrap_or_default()), paging).await
}

async fn list_response(
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
    // The fallback is unreachable: tags hold only hexadecimal digits, hyphens and quotes.
    let etag =
        HeaderValue::from_maybe_shared(page.etag).unwrap_or(HeaderValue::from_static("\"\""));
    let mut response = if is_not_modified(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer::raw_json(StatusCode::OK, page.body)
    };
    let out = response.headers_mut();
    out.insert(header::ETAG, etag);
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

fn is_not_modified(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    let tag = etag.to_str().ok().and_then(|tag| tag.parse().ok());
    let given = headers.typed_get::<IfNoneMatch>();
    tag.zip(given).is_some_and(|(tag, given)| !given.precondition_passes(&tag))
}

/// Serialises rows on the database thread, straight into the response's buffer.
struct PageWriter {
    app: Arc<App>,
    site: Arc<Site>,
    key: PageKey,
    body: Vec<u8>,
}

async fn make_page(app: &Arc<App>, site: &Arc<Site>, key: PageKey) -> Result<Page> {
    let (writer_app, writer_site) = (Arc::clone(app), Arc::clone(site));
    let writer = move || {
        // Reserve a full page at once: growth would copy, and untouched memory costs nothing.
        let mut body =
            Vec::with_capacity(key.paging.limit as usize * wire::ATTACHMENT_JSON_BYTES + 256);
        wire::begin_list(&mut body);
        PageWriter { app: Arc::clone(&writer_app), site: Arc::clone(&writer_site), key, body }
    };
    let listed =
        app.db.list(key.site, key.contact, key.paging, writer, PageWriter::write_rows).await?;
    let mut body = listed.visited.body;
    wire::end_list(&mut body, listed.totals, key.paging.offset);
    // The cache counts lengths.
    body.shrink_to_fit();
    // Site and contact are part of the tag: without an id in the path all contacts share a URL, and
    // keys of several sites may request any URL (S37).
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
        let writer = AttachmentWriter::new(&self.site, &self.app.media_url, signer, self.key.view);
        writer.items(&mut self.body, rows);
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
    let (contact, id) = path_ids(path, query.as_deref())?;
    let site = caller.site();
    let attachment = app.db.attachment(site.id, id).await?;
    let attachment = attachment
        .filter(|attachment| attachment.contact_id == contact)
        .ok_or_else(|| Error::no_attachment(contact, id))?;
    let signer = app.keys.media_signer(app.links_expire_s(site));
    let writer = AttachmentWriter::new(site, &app.media_url, signer, view(&app, &headers));
    let mut body = b"{\"attachment\":".to_vec();
    writer.attachment(&mut body, &AttachmentRow::from(&attachment));
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
    let (contact, id) = path_ids(path, query.as_deref())?;
    actions::delete::delete(&app, caller.site().id, contact, id).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// The ids of the path, decoded.
pub(super) fn ids<T>(path: Ids<T>) -> Result<T> {
    path.map(|Path(ids)| ids)
        .map_err(|_| malformed("the path is not valid UTF-8".to_owned(), json!({})))
}

fn path_ids(path: Ids<(String, String)>, query: Option<&str>) -> Result<(ContactId, AttachmentId)> {
    let ((contact, attachment), query) = (ids(path)?, Query::parse(query));
    let mut violations = Violations::default();
    let contact = std::iter::once(contact.as_str()).chain(query.all(CONTACT_ID));
    let contact = violations.collect(same_guid(CONTACT_ID, contact));
    let attachment = std::iter::once(attachment.as_str()).chain(query.all(ATTACHMENT_ID));
    let attachment = violations.collect(same_guid(ATTACHMENT_ID, attachment));
    violations.check()?;
    Ok((ContactId(contact.unwrap_or_default()), AttachmentId(attachment.unwrap_or_default())))
}

pub(super) fn idle(app: &App) -> Duration {
    Duration::from_secs(app.config.body_idle_seconds)
}

/// SDK callers get only the URL: if an id is present, the SDK hides the URL (contract §16).
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
