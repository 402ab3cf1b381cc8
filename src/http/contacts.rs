//! Contacts, `/dossier/v1/contacts…`: announce, delete, merge, erase, restore. Listing and getting
//! need VIEW; everything else needs MODIFY.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer;
use super::attachments::{Ids, idle, ids};
use super::auth::Caller;
use super::listing;
use super::request::{
    ATTACHMENT_ID, CONTACT_ID, Query, Violations, array_field, at_most_chars, json_object,
    same_guid, text_field,
};
use super::upload_urls::Field;
use crate::actions::contacts::{self, Receipt};
use crate::app::App;
use crate::db::{Announced, Contact, ContactOrder, ContactSearch, ContactState};
use crate::domain::cursor::{Cursor, SortKey};
use crate::domain::ids::{AttachmentId, ContactId, SiteId, parse_guid};
use crate::domain::scope::Scope;
use crate::domain::timestamp::timestamp;
use crate::error::{Error, Result, Rule, Violation};

/// Longest label in characters.
pub(super) const MAX_LABEL_CHARS: usize = 200;
/// Most contacts that one request merges (contract §12).
pub(super) const MAX_MERGE_SOURCES: usize = 5;
/// Items of a page: at most, and by default.
pub(super) const MAX_LIMIT: u32 = 1_000;
pub(super) const LIMIT: u32 = 100;

/// The orders of a list, by their `sort` values. The first is the default.
pub(super) const SORTS: [(&str, ContactOrder); 5] = [
    ("id", ContactOrder::Id),
    ("label", ContactOrder::Label),
    ("-lastActivity", ContactOrder::LastActivity),
    ("-count", ContactOrder::Count),
    ("-size", ContactOrder::Size),
];

/// GET `/dossier/v1/contacts`: `search`, `sort`, `limit`, and `after`, which is the previous page's
/// `next` or, when sorted by id, its last id.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::View).await?;
    let query = Query::parse(query.as_deref());
    let mut violations = Violations::default();
    let text = violations.collect(listing::search(&query)).unwrap_or_default();
    let order = violations.collect(listing::choice(&query, "sort", &SORTS)).unwrap_or_default();
    let limit = violations.collect(listing::limit(&query, MAX_LIMIT, LIMIT)).unwrap_or(LIMIT);
    let by_label = order == ContactOrder::Label;
    let list_key = format!("contacts {order:?} {text}");
    let after =
        violations.collect(query.one("after")).flatten().and_then(|after| {
            match parse_guid(after).filter(|_| order == ContactOrder::Id) {
                Some(id) => Some(Cursor { key: SortKey::Number(0), id }),
                None => violations.collect(listing::cursor("after", after, &list_key, by_label)),
            }
        });
    violations.check()?;
    let search = ContactSearch { text, order };
    // One extra row shows whether there is another page.
    let mut found = app.db.contacts(caller.site().id, search, after, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| order.cursor(last).encode(&list_key));
    let found: Vec<Value> = found.iter().map(listed_json).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "contacts": found, "next": next })))
}

/// GET `/dossier/v1/contacts/{contact}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::View).await?;
    contact_response(&app, site, contact).await
}

/// PUT `/dossier/v1/contacts/{contact}`: registers it, with an optional human-readable `label`.
pub(super) async fn announce(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::Modify).await?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let label = violations.collect(label(&body)).flatten();
    violations.check()?;
    match app.db.announce(site, contact, label, app.clock.now_ms()).await? {
        Announced::Known(known) => {
            Ok(answer::json(StatusCode::OK, &json!({ "contact": contact_json(&known) })))
        }
        Announced::Closing => Err(Error::Busy { retry_after_seconds: 1 }),
        Announced::Gone(state) => {
            let state = state.as_str();
            Err(Error::Conflict {
                code: "CONTACT_GONE",
                problem: format!("the contact was {state} and cannot be announced again"),
                data: json!({ "state": state.to_ascii_uppercase() }),
            })
        }
    }
}

/// DELETE `/dossier/v1/contacts/{contact}`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::Modify).await?;
    contacts::delete(&app, site, contact).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// POST `/dossier/v1/contacts/{contact}/merge`: merges `sourceContactIds` into the path's contact.
pub(super) async fn merge(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (site, target) = path_contact(&app, path, &headers, Scope::Modify).await?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let sources = violations.collect(sources(&body, target));
    violations.check()?;
    let moved = contacts::merge(&app, site, target, sources.unwrap_or_default()).await?;
    let contact = app.db.contact(site, target).await?.as_ref().map(contact_json);
    Ok(answer::json(StatusCode::OK, &json!({ "contact": contact, "movedAttachments": moved })))
}

/// POST `/dossier/v1/contacts/{contact}/erase`.
pub(super) async fn erase(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::Modify).await?;
    Ok(receipt_response(&contacts::erase(&app, site, contact).await?))
}

/// GET `/dossier/v1/receipts/{receipt}`.
pub(super) async fn receipt(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let path = ids(path)?;
    let id = parse_guid(&path);
    let id = id.ok_or_else(|| Error::Invalid(vec![Violation::not_a_guid("receiptId")]))?;
    let keys = Arc::clone(&app.webhooks.keys);
    let key = (caller.site().id, id);
    let found = contacts::receipt(&app.db, keys, key, app.clock.now_ms()).await?;
    let data = json!({ "receiptId": id.to_string() });
    Ok(receipt_response(&found.ok_or(Error::NotFound { what: "receipt", data })?))
}

/// POST `/dossier/v1/contacts/{contact}/restore`.
pub(super) async fn restore(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::Modify).await?;
    let (quotas, now_ms) = (app.quotas(site), app.clock.now_ms());
    contacts::restore(&app.db, (site, contact), quotas, now_ms).await?;
    contact_response(&app, site, contact).await
}

/// GET `/dossier/v1/contacts/{contact}/trash`: `limit`, and `after`, the previous page's last id.
pub(super) async fn trash(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, contact) = path_contact(&app, path, &headers, Scope::View).await?;
    let (after, limit) = page(query.as_deref())?;
    let found = app.db.trashed(site, contact, after.map(AttachmentId), limit).await?;
    let found: Vec<Value> = found
        .iter()
        .map(|one| {
            json!({
                "id": one.id.to_string(),
                "fileName": one.file_name,
                "sizeInBytes": one.size_bytes.to_string(),
                "deletedDate": timestamp(one.deleted_at_ms),
                "purgeDate": timestamp(one.purge_at_ms),
            })
        })
        .collect();
    Ok(answer::json(StatusCode::OK, &json!({ "attachments": found })))
}

/// POST `/dossier/v1/contacts/{contact}/attachments/{attachment}/restore`.
pub(super) async fn restore_attachment(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let (contact, attachment) = ids(path)?;
    let mut violations = Violations::default();
    let contact = violations.collect(same_guid(CONTACT_ID, [contact.as_str()]));
    let attachment = violations.collect(same_guid(ATTACHMENT_ID, [attachment.as_str()]));
    violations.check()?;
    let site = caller.site().id;
    let key = (site, ContactId(contact.unwrap_or_default()));
    let id = AttachmentId(attachment.unwrap_or_default());
    app.db.restore_attachment(key, id, app.quotas(site), app.clock.now_ms()).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// The path's contact, after a check of the caller's scope.
pub(super) async fn path_contact(
    app: &App,
    path: Ids<String>,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<(SiteId, ContactId)> {
    let caller = Caller::with_scope(app, headers, scope).await?;
    let path = ids(path)?;
    let contact = same_guid(CONTACT_ID, [path.as_str()]);
    let contact = contact.map_err(|violation| Error::Invalid(vec![violation]))?;
    Ok((caller.site().id, ContactId(contact)))
}

async fn contact_response(app: &App, site: SiteId, contact: ContactId) -> Result<Response> {
    let found = app
        .db
        .contact(site, contact)
        .await?
        .filter(|found| matches!(found.state, ContactState::Active | ContactState::Trashed));
    let found = found.ok_or_else(|| Error::no_contact(contact))?;
    Ok(answer::json(StatusCode::OK, &json!({ "contact": contact_json(&found) })))
}

fn contact_json(contact: &Contact) -> Value {
    let mut json = json!({
        "id": contact.id.to_string(),
        "state": contact.state.as_str().to_ascii_uppercase(),
        "label": contact.label,
        "announcedDate": contact.announced_at_ms.map(timestamp),
        "attachmentCount": contact.attachment_count,
        "totalBytes": contact.total_bytes.to_string(),
        "lastActivityAt": timestamp(contact.last_activity_at_ms),
    });
    if let Some(purge_at_ms) = contact.purge_at_ms {
        json["deletedDate"] = json!(timestamp(contact.state_at_ms));
        json["purgeDate"] = json!(timestamp(purge_at_ms));
    }
    json
}

/// In a list the id is also given as `contactId`, its name beside attachments.
fn listed_json(contact: &Contact) -> Value {
    let mut json = contact_json(contact);
    json["contactId"] = json!(contact.id.to_string());
    json
}

fn receipt_response(receipt: &Receipt) -> Response {
    let body = json!({ "receipt": receipt.content, "signed": receipt.signed });
    answer::json(StatusCode::OK, &body)
}

/// Reads `after` and `limit` of a query.
fn page(query: Option<&str>) -> Result<(Option<Uuid>, u32)> {
    let query = Query::parse(query);
    let mut violations = Violations::default();
    let after = violations.collect(query.one("after")).flatten().and_then(|text| {
        violations.collect(parse_guid(text).ok_or_else(|| Violation::not_a_guid("after")))
    });
    let limit = violations.collect(listing::limit(&query, MAX_LIMIT, LIMIT));
    violations.check()?;
    Ok((after, limit.unwrap_or(LIMIT)))
}

fn label(body: &Map<String, Value>) -> Field<Option<String>> {
    let Some(text) = text_field(body, "label")? else { return Ok(None) };
    at_most_chars("label", text, MAX_LABEL_CHARS).map(|text| Some(text.to_owned()))
}

fn sources(body: &Map<String, Value>, target: ContactId) -> Field<Vec<ContactId>> {
    let field = "sourceContactIds";
    let given = array_field(body, field)?.filter(|given| !given.is_empty());
    let given = given.ok_or_else(|| Violation::required(field))?;
    if given.len() > MAX_MERGE_SOURCES {
        let description = format!("must contain at most {MAX_MERGE_SOURCES} ids");
        return Err(Violation::new(field, Rule::Max(MAX_MERGE_SOURCES as u64), description));
    }
    let mut sources = Vec::with_capacity(given.len());
    for id in given {
        let id = id.as_str().and_then(ContactId::parse);
        let id = id.ok_or_else(|| Violation::not_a_guid(field))?;
        if id == target {
            let rule = Rule::Other("MERGE_INTO_ITSELF", json!({}));
            return Err(Violation::new(field, rule, "must not contain the target contact"));
        }
        if sources.contains(&id) {
            let rule = Rule::Other("DUPLICATE_ID", json!({}));
            return Err(Violation::new(field, rule, "must not contain an id twice"));
        }
        sources.push(id);
    }
    Ok(sources)
}
