//! A contact's files as people look for them, `/dossier/v1/contacts/{contact}/attachments…`: searched,
//! filtered, sorted, labelled, deleted together; and what a site holds. The contract's calls stay as they
//! are beside these.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer;
use super::attachments::{Ids, idle, ids};
use super::auth::Caller;
use super::contacts::{MAX_LABEL_CHARS, named};
use super::listing;
use super::request::{
    ATTACHMENT_ID, CONTACT_ID, Query, Violations, array_field, at_most_chars, json_object,
    same_guid, text_field,
};
use super::upload_urls::Field;
use crate::actions;
use crate::app::App;
use crate::db::{FileChange, FileOrder, FileSearch, NotedFile, Site};
use crate::domain::hex;
use crate::domain::ids::{AttachmentId, ContactId};
use crate::domain::media_type::{FileKind, types_of};
use crate::domain::scope::Scope;
use crate::domain::timestamp::timestamp;
use crate::error::{Result, Rule, Violation};
use crate::page_cache::MediaView;
use crate::wire::Shapes;

/// Longest description in characters.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 2_000;
/// Attachments that one request deletes.
pub(super) const MOST_DELETED: usize = 100;
/// Items of a page, and how many without a wish.
pub(super) const MAX_LIMIT: u32 = 200;
pub(super) const LIMIT: u32 = 100;

/// By what files are sorted, as `sort` says it.
pub(super) const SORTS: [(&str, FileOrder); 6] = [
    ("created", FileOrder::Oldest),
    ("-created", FileOrder::Newest),
    ("name", FileOrder::Name),
    ("-name", FileOrder::NameDown),
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
    let contact = violations.take(same_guid(CONTACT_ID, [path.as_str()]));
    let text = violations.take(listing::search(&query)).unwrap_or_default();
    let types = violations.take(types(&query)).unwrap_or_default();
    let order = violations.take(listing::choice(&query, "sort", &SORTS)).unwrap_or_default();
    let limit = violations.take(listing::limit(&query, MAX_LIMIT, LIMIT)).unwrap_or(LIMIT);
    let contact = ContactId(contact.unwrap_or_default());
    let belongs_to = format!("files {contact} {order:?} {types} {text}");
    let after = violations.take(query.one("cursor")).flatten().and_then(|after| {
        violations.take(listing::cursor("cursor", after, &belongs_to, order.is_by_text()))
    });
    violations.check()?;
    let search = FileSearch { text, types, order };
    let site = caller.site();
    // One more than the page shows whether there is another.
    let mut page = app.db.files(site.id, contact, search, after, limit + 1).await?;
    let more = page.files.len() > limit as usize;
    page.files.truncate(limit as usize);
    let last = page.files.last().filter(|_| more);
    let next = last.map(|last| order.cursor(&last.attachment).encode(&belongs_to));
    let files: Vec<Value> = page.files.iter().map(|file| file_json(&app, site, file)).collect();
    let body = json!({ "attachments": files, "next": next, "total": page.total });
    Ok(private(answer::json(StatusCode::OK, &body)))
}

/// PATCH `/dossier/v1/contacts/{contact}/attachments/{attachment}`: `label` and `description`; null takes
/// one away, and what is absent stays.
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
    let contact = violations.take(same_guid(CONTACT_ID, [contact.as_str()]));
    let attachment = violations.take(same_guid(ATTACHMENT_ID, [attachment.as_str()]));
    let change = FileChange {
        label: violations.take(note(&body, "label", MAX_LABEL_CHARS)).flatten(),
        description: violations.take(note(&body, "description", MAX_DESCRIPTION_CHARS)).flatten(),
    };
    violations.check()?;
    let key = (caller.site().id, ContactId(contact.unwrap_or_default()));
    let id = AttachmentId(attachment.unwrap_or_default());
    let file = app.db.note_file(key, id, change).await?;
    let body = json!({ "attachment": file_json(&app, caller.site(), &file) });
    Ok(private(answer::json(StatusCode::OK, &body)))
}

/// POST `/dossier/v1/contacts/{contact}/attachments/bulk-delete`: `attachmentIds` go together, each as by
/// a delete of its own.
pub(super) async fn bulk_delete(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (site, contact) = named(&app, path, &headers, Scope::Modify).await?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let wanted = violations.take(attachment_ids(&body));
    violations.check()?;
    let wanted = wanted.unwrap_or_default();
    let (deleted, unknown) = actions::delete::delete_some(&app, (site, contact), wanted).await?;
    let texts = |ids: &[AttachmentId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let body = json!({ "deleted": texts(&deleted), "notFound": texts(&unknown) });
    Ok(answer::json(StatusCode::OK, &body))
}

/// GET `/dossier/v1/usage`: what the caller's site holds, and may hold at most.
pub(super) async fn usage(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let site = caller.site();
    let (held, quotas) = (app.db.held_by_site(site.id).await?, app.quotas(site.id));
    // Zero is any number.
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

/// Links are for the caller alone.
fn private(mut response: Response) -> Response {
    let value = HeaderValue::from_static("private, no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

fn file_json(app: &App, site: &Site, file: &NotedFile) -> Value {
    let attachment = &file.attachment;
    let expires_s = app.links_expire_s(site);
    let signer = app.keys.media_signer(expires_s);
    let shapes = Shapes::new(site, &app.media_url, signer, MediaView::Both);
    let link = |preview| String::from_utf8_lossy(&shapes.link(attachment, preview)).into_owned();
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

/// The MIME types of the kinds in `type`, which stand between commas.
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

/// A text that people write; `None` is an absent one, and null is empty.
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
    if given.len() > MOST_DELETED {
        let description = format!("must hold at most {MOST_DELETED} ids");
        return Err(Violation::new(field, Rule::Max(MOST_DELETED as u64), description));
    }
    distinct(field, given.iter().map(|id| id.as_str().unwrap_or_default()))
}

/// Ids of attachments, each once.
pub(super) fn distinct<'a>(
    field: &'static str,
    given: impl Iterator<Item = &'a str>,
) -> Field<Vec<AttachmentId>> {
    let mut ids = Vec::new();
    for id in given {
        let id = AttachmentId::parse(id).ok_or_else(|| Violation::not_a_guid(field))?;
        if ids.contains(&id) {
            let rule = Rule::Other("DUPLICATE_ID", json!({}));
            return Err(Violation::new(field, rule, "must not hold an id twice"));
        }
        ids.push(id);
    }
    Ok(ids)
}
