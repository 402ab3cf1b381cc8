//! Media links (contract §10) to originals, previews and transforms: checks a link and resolves it.
//! `media_answer` sends the result.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::attachments::{Ids, ids};
use super::media_answer::{MediaRequest, respond, safe_headers, set};
use super::request::Query;
use crate::actions::download::{self, MediaVariant};
use crate::app::App;
use crate::config::TransformsAllowed;
use crate::domain::attachment::MediaId;
use crate::domain::signing::TokenError;
use crate::domain::transform::{Problem, Rejection, Transform};
use crate::error::{Error, Result, Rule, Violation};

/// GET and HEAD `/media/{mediaId}` and `/ugd/{mediaId}`.
pub(super) async fn original(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let request = MediaRequest { method: &method, headers: &headers };
    finish(
        serve(&app, ids(path), query.as_deref(), Selector::Part(MediaVariant::Original), request)
            .await,
    )
}

/// GET and HEAD `/media/{mediaId}/preview`, and `/ugd/{mediaId}/preview` of documents.
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let request = MediaRequest { method: &method, headers: &headers };
    finish(
        serve(&app, ids(path), query.as_deref(), Selector::Part(MediaVariant::Preview), request)
            .await,
    )
}

/// GET and HEAD `/media/{mediaId}/v1/{transform}/{name}`. The path is not percent-decoded: valid
/// transforms contain no encoded characters.
pub(super) async fn transform(
    State(app): State<Arc<App>>,
    uri: Uri,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let request = MediaRequest { method: &method, headers: &headers };
    let mut parts = uri.path().splitn(5, '/').skip(2);
    let (media_id, path) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    let selector = Selector::Transform(path);
    finish(serve(&app, Ok(media_id.to_owned()), query.as_deref(), selector, request).await)
}

/// The content that a path selects.
enum Selector<'a> {
    Part(MediaVariant),
    Transform(&'a str),
}

/// Adds the safe headers to every response, errors included. Errors are not cached: the same link
/// may work later, for example once its preview is rendered.
fn finish(result: Result<Response>) -> Response {
    let mut response = result.unwrap_or_else(|error| {
        let mut response = error.into_response();
        set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
        response
    });
    safe_headers(response.headers_mut());
    response
}

async fn serve(
    app: &Arc<App>,
    path: Result<String>,
    query: Option<&str>,
    selector: Selector<'_>,
    request: MediaRequest<'_>,
) -> Result<Response> {
    let not_found = || Error::NotFound { what: "file", data: json!({}) };
    let path = path?;
    let media_id = MediaId::parse(&path).ok_or_else(not_found)?;
    let site = app.registry.site_by_prefix(media_id.prefix).ok_or_else(not_found)?;
    let query = Query::parse(query);
    let token = query.one("token").ok().flatten().unwrap_or_default();
    let now_ms = app.clock.now_ms();
    let checked = app.keys.check_media(token, site.id, media_id.attachment_id, now_ms);
    let expires_s = checked.map_err(|error| Error::InvalidLink {
        problem: match error {
            TokenError::Forged => "this link is not valid",
            TokenError::Expired => "this link has expired; get the attachment again for a new one",
        },
    })?;
    let variant = match selector {
        Selector::Part(variant) => variant,
        Selector::Transform(path) => allowed_transform(app, &media_id, path, &request)?,
    };
    let opened = download::open(app, site.id, media_id.attachment_id, variant).await?;
    let opened = opened
        .filter(|opened| opened.attachment.media_id(&site.media_prefix) == media_id)
        .ok_or_else(not_found)?;
    let remaining_s = i64::from(expires_s) - now_ms / 1_000;
    respond(opened, &variant, remaining_s, request).await
}

/// The path's transform, if the settings allow it. Checked before any work is done (S38).
fn allowed_transform(
    app: &App,
    media_id: &MediaId<'_>,
    path: &str,
    request: &MediaRequest<'_>,
) -> Result<MediaVariant> {
    let allowed = app.config.transforms;
    if allowed == TransformsAllowed::Off {
        let problem = "transforms are disabled on this server (setting transforms)".to_owned();
        return Err(Error::PermissionDenied { problem });
    }
    let transform = Transform::parse(path)
        .map_err(|rejections| Error::Invalid(rejections.into_iter().map(violation).collect()))?;
    let is_png = media_id.extension == "png";
    if allowed == TransformsAllowed::Presets && !transform.is_preset(is_png) {
        let problem = "only preset transforms are allowed on this server (setting transforms)";
        return Err(Error::PermissionDenied { problem: problem.to_owned() });
    }
    Ok(MediaVariant::Transform(transform, request.accepts_webp()))
}

fn violation(rejection: Rejection) -> Violation {
    let Rejection { token, problem } = rejection;
    let other = |rule, data, text: &str| Violation::new(token, Rule::Other(rule, data), text);
    match problem {
        Problem::Malformed => other(
            "TRANSFORM_FORM",
            json!({}),
            "must be <step>/<options>/<name>, optionally after crop/<options>/",
        ),
        Problem::Missing => Violation::required(token),
        Problem::NotAnInteger => Violation::new(token, Rule::Format("INT32"), "is not an integer"),
        Problem::NotANumber => Violation::new(
            token,
            Rule::Format("NUMBER"),
            "must be plain numbers, as many as the option takes",
        ),
        Problem::UnknownValue(value) => other(
            "INVALID_ENUM_VALUE",
            json!({ "value": value }),
            "is not one of the allowed values",
        ),
        Problem::Below(least) => {
            let rule = u64::try_from(least)
                .map_or(Rule::Other("MIN", json!({ "threshold": least })), Rule::Min);
            Violation::new(token, rule, format!("must be at least {least}"))
        }
        Problem::Above(most) => {
            let rule = Rule::Max(u64::from(most.unsigned_abs()));
            Violation::new(token, rule, format!("must be at most {most}"))
        }
        Problem::Repeated => other("DOUBLED_OPTION", json!({}), "must not be given more than once"),
        Problem::NotApplicable => {
            other("FIELD_NOT_ALLOWED", json!({}), "is not an option of this step")
        }
        Problem::Unknown(text) => {
            other("UNKNOWN_OPTION", json!({ "option": text }), "contains an unknown step or option")
        }
        Problem::Unsupported => other("NOT_MADE", json!({}), "is not supported by this server"),
    }
}
