//! A contact's files, `/dossier/v1/contacts/{contact}/attachments…`: search, filter, sort, label
//! and bulk delete; and a site's usage. The contract's own calls remain unchanged beside these.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer;
use super::attachments::{Ids, idle, ids};
use super::auth::Caller;
use super::contacts::{MAX_LABEL_CHARS, path_contact};
use super::listing;
use super::request::{
    ATTACHMENT_ID, CONTACT_ID, Query, Violations, array_field, at_most_chars, json_object,
    same_guid, text_field,
};
use super::upload_urls::Field;
use crate::actions;
use crate::app::App;
use crate::db::{AnnotatedFile, FileChange, FileOrder, FileSearch, Site};
use crate::domain::hex;
use crate::domain::ids::{AttachmentId, ContactId};
use crate::domain::media_type::{FileKind, types_of};
use crate::domain::scope::Scope;
use crate::domain::timestamp::timestamp;
use crate::error::{Result, Rule, Violation};
use crate::page_cache::MediaView;
use crate::wire::AttachmentWriter;

/// Longest description in characters.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 2_000;
/// Most attachments that one request deletes.
pub(super) const MAX_BULK_DELETE: usize = 100;
/// Items of a page: at most, and by default.
pub(super) const MAX_LIMIT: u32 = 200;
pub(super) const LIMIT: u32 = 100;

/// The orders of a list, by their `sort` values. The first is the default.
pub(super) const SORTS: [(&str, FileOrder); 6] = [
    ("created", FileOrder::Oldest),
    ("-created", FileOrder::Newest),
    ("name", FileOrder::Name),
    ("-name", FileOrder::NameDescending),
    ("size", FileOrder::Smallest),
    ("-size", FileOrder::Largest),
];

/// GET `/dossier/v1/contacts/{contact}/attachments`: `search`, `type`, `sort`, `limit`, `cursor`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let (path, query) = (ids(path)?, Query::parse(query.as_deref()));
    let mut violations = Violations::default();
    let contact = violations.collect(same_guid(CONTACT_ID, [path.as_str()]));
    let text = violations.collect(listing::search(&query)).unwrap_or_default();
    let types = violations.collect(types(&query)).unwrap_or_default();
    let order = violations.collect(listing::choice(&query, "sort", &SORTS)).unwrap_or_default();
    let limit = violations.collect(listing::limit(&query, MAX_LIMIT, LIMIT)).unwrap_or(LIMIT);
    let contact = ContactId(contact.unwrap_or_default());
    let list_key = format!("files {contact} {order:?} {types} {text}");
    let after = violations.collect(query.one("cursor")).flatten().and_then(|after| {
        violations.collect(listing::cursor("cursor", after, &list_key, order.is_by_text()))
    });
    violations.check()?;
    let search = FileSearch { text, types, order };
    let site = caller.site();
    // One extra row shows whether there is another page.
    let mut page = app.db.files(site.id, contact, search, after, limit + 1).await?;
    let more = page.files.len() > limit as usize;
    page.files.truncate(limit as usize);
    let last = page.files.last().filter(|_| more);
    let next = last.map(|last| order.cursor(&last.attachment).encode(&list_key));
    let files: Vec<Value> = page.files.iter().map(|file| file_json(&app, site, file)).collect();
    let body = json!({ "attachments": files, "next": next, "total": page.total });
    Ok(private(answer::json(StatusCode::OK, &body)))
}

/// PATCH `/dossier/v1/contacts/{contact}/attachments/{attachment}`: sets `label` and `description`.
/// Null removes one; an absent one stays.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let (contact, attachment) = ids(path)?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let contact = violations.collect(same_guid(CONTACT_ID, [contact.as_str()]));
    let attachment = violations.collect(same_guid(ATTACHMENT_ID, [attachment.as_str()]));
    let change = FileChange {
        label: violations.collect(note(&body, "label", MAX_LABEL_CHARS)).flatten(),
        description: violations
            .collect(note(&body, "description", MAX_DESCRIPTION_CHARS))
            .flatten(),
    };
    violations.check()?;
    let key = (caller.site().id, ContactId(contact.unwrap_or_default()));
    let id = AttachmentId(attachment.unwrap_or_default());
    let file = app.db.annotate_file(key, id, change).await?;
    let body = json!({ "attachment": file_json(&app, caller.site(), &file) });
    Ok(private(answer::json(StatusCode::OK, &body)))
}

/// POST `/dossier/v1/contacts/{contact}/attachments/bulk-delete`: deletes `attachmentIds`, each as
/// an individual delete would.
pub(super) async fn bulk_delete(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::Modify).await?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let wanted = violations.collect(attachment_ids(&body));
    violations.check()?;
    let wanted = wanted.unwrap_or_default();
    let (deleted, unknown) = actions::delete::delete_many(&app, (site, contact), wanted).await?;
    let texts = |ids: &[AttachmentId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let body = json!({ "deleted": texts(&deleted), "notFound": texts(&unknown) });
    Ok(answer::json(StatusCode::OK, &body))
}

/// GET `/dossier/v1/usage`: the usage and the quotas of the caller's site.
pub(super) async fn usage(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let site = caller.site();
    let (held, quotas) = (app.db.site_held(site.id).await?, app.quotas(site.id));
    // Zero means unlimited.
    let most = |bound: u64| (bound > 0).then_some(bound);
    let bytes = |bound: u64| most(bound).map(|bytes| bytes.to_string());
    let body = json!({ "site": {
        "siteId": site.id.to_string(),
        "name": site.name,
        "attachmentCount": held.files,
        "totalBytes": held.bytes.to_string(),
        "quotas": {
            "maxFiles": most(quotas.site.files),
            "maxBytes": bytes(quotas.site.bytes),
            "contactMaxFiles": most(quotas.contact.files),
            "contactMaxBytes": bytes(quotas.contact.bytes),
        },
    } });
    Ok(answer::json(StatusCode::OK, &body))
}

/// Keeps the links out of caches: they are for the caller alone.
fn private(mut response: Response) -> Response {
    let value = HeaderValue::from_static("private, no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

fn file_json(app: &App, site: &Site, file: &AnnotatedFile) -> Value {
    let attachment = &file.attachment;
    let expires_s = app.links_expire_s(site);
    let signer = app.keys.media_signer(expires_s);
    let writer = AttachmentWriter::new(site, &app.media_url, signer, MediaView::Both);
    let link = |preview| String::from_utf8_lossy(&writer.link(attachment, preview)).into_owned();
    let pixels = |number: u32| (number > 0).then_some(number);
    json!({
        "id": attachment.id.to_string(),
        "fileName": attachment.file_name,
        "mimeType": attachment.mime_type,
        "type": FileKind::of(&attachment.mime_type).as_str(),
        "sizeBytes": attachment.size_bytes.to_string(),
        "width": pixels(attachment.width),
        "height": pixels(attachment.height),
        "createdAt": timestamp(attachment.created_at_ms),
        "sha256": hex::encode(&attachment.sha256),
        "label": file.label,
        "description": file.description,
        "url": link(false),
        "previewUrl": attachment.has_preview.then(|| link(true)),
        "linksExpireAt": timestamp(i64::from(expires_s) * 1_000),
    })
}

/// The MIME types of the comma-separated kinds in `type`.
fn types(query: &Query<'_>) -> Field<String> {
    let field = "type";
    let Some(text) = query.one(field)?.filter(|text| !text.is_empty()) else {
        return Ok(types_of(&[]));
    };
    let kind = |name: &str| FileKind::NAMED.iter().find(|one| one.0 == name).map(|one| one.1);
    let kinds: Option<Vec<FileKind>> = text.split(',').map(kind).collect();
    let names = || FileKind::NAMED.map(|(name, _)| name);
    kinds.map(|kinds| types_of(&kinds)).ok_or_else(|| listing::not_one_of(field, &names()))
}

/// A label or description: `None` if absent, empty if null.
fn note(
    body: &Map<String, Value>,
    field: &'static str,
    most_chars: usize,
) -> Field<Option<String>> {
    if !body.contains_key(field) {
        return Ok(None);
    }
    let text = text_field(body, field)?.unwrap_or_default();
    at_most_chars(field, text, most_chars).map(|text| Some(text.to_owned()))
}

fn attachment_ids(body: &Map<String, Value>) -> Field<Vec<AttachmentId>> {
    let field = "attachmentIds";
    let given = array_field(body, field)?.filter(|given| !given.is_empty());
    let given = given.ok_or_else(|| Violation::required(field))?;
    if given.len() > MAX_BULK_DELETE {
        let description = format!("must contain at most {MAX_BULK_DELETE} ids");
        return Err(Violation::new(field, Rule::Max(MAX_BULK_DELETE as u64), description));
    }
    distinct(field, given.iter().map(|id| id.as_str().unwrap_or_default()))
}

/// Parses attachment ids, which must be distinct.
pub(super) fn distinct<'a>(
    field: &'static str,
    given: impl Iterator<Item = &'a str>,
) -> Field<Vec<AttachmentId>> {
    let mut ids = Vec::new();
    for id in given {
        let id = AttachmentId::parse(id).ok_or_else(|| Violation::not_a_guid(field))?;
        if ids.contains(&id) {
            let rule = Rule::Other("DUPLICATE_ID", json!({}));
            return Err(Violation::new(field, rule, "must not contain an id twice"));
        }
        ids.push(id);
    }
    Ok(ids)
}
