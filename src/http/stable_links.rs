//! Permanent media URLs, for clients that must store one. With a key they redirect to a fresh link.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::attachments::{Ids, ids};
use super::auth::Caller;
use super::request::{ATTACHMENT_ID, Query, Violations, same_guid};
use crate::app::App;
use crate::domain::ids::{AttachmentId, SiteId};
use crate::domain::scope::Scope;
use crate::error::{Error, Result, Rule, Violation};
use crate::page_cache::MediaView;
use crate::wire::AttachmentWriter;

const SITE_ID: &str = "siteId";
const PART: &str = "part";
const PREVIEW: &str = "preview";

/// GET and HEAD `/dossier/v1/media/{siteId}/{attachmentId}`: 302 to a link to the original, or with
/// `?preview` or `?part=preview` to the preview.
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    path: Ids<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::authenticate(&app, &headers).await?;
    let ((site, attachment), query) = (ids(path)?, Query::parse(query.as_deref()));
    let mut violations = Violations::default();
    let site = violations.collect(same_guid(SITE_ID, [&*site]));
    let attachment = violations.collect(same_guid(ATTACHMENT_ID, [&*attachment]));
    let is_preview = violations.collect(is_preview(&query));
    violations.check()?;
    let site = SiteId(site.unwrap_or_default());
    let id = AttachmentId(attachment.unwrap_or_default());
    // A foreign site looks like one that does not exist (S16).
    let not_found = || Error::NotFound {
        what: "attachment",
        data: json!({ SITE_ID: site.to_string(), ATTACHMENT_ID: id.to_string() }),
    };
    if caller.site().id != site {
        return Err(not_found());
    }
    caller.check_scope(Scope::View)?;
    let attachment = app.db.attachment(site, id).await?.ok_or_else(not_found)?;
    let is_preview = is_preview.unwrap_or_default();
    if is_preview && !attachment.has_preview {
        return Err(not_found());
    }
    let signer = app.keys.media_signer(app.links_expire_s(caller.site()));
    let writer = AttachmentWriter::new(caller.site(), &app.media_url, signer, MediaView::Url);
    let link = HeaderValue::from_bytes(&writer.link(&attachment, is_preview));
    let link = link.map_err(anyhow::Error::from)?;
    let mut response = StatusCode::FOUND.into_response();
    let out = response.headers_mut();
    out.insert(header::LOCATION, link);
    // Every request gets a new link with its full lifetime.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn is_preview(query: &Query<'_>) -> std::result::Result<bool, Violation> {
    match (query.one(PREVIEW)?, query.one(PART)?) {
        (Some(_), _) | (None, Some(PREVIEW)) => Ok(true),
        (None, None | Some("original")) => Ok(false),
        (None, Some(_)) => {
            let rule =
                Rule::Other("INVALID_ENUM_VALUE", json!({ "values": ["original", PREVIEW] }));
            Err(Violation::new(PART, rule, "must be original or preview"))
        }
    }
}
