//! What media links open (design §5): originals, previews and transforms. Who may, and what a link
//! means; `media_answer` sends it.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::attachments::{Ids, ids};
use super::media_answer::{Asked, answer, safe_headers, set};
use super::request::Query;
use crate::actions::download::{self, Wanted};
use crate::app::App;
use crate::config::TransformsAllowed;
use crate::domain::attachment::MediaId;
use crate::domain::signing::TokenRefused;
use crate::domain::transform::{Problem, Refused, Transform};
use crate::error::{Error, Result, Rule, Violation};

/// GET and HEAD `/media/{mediaId}` and `/ugd/{mediaId}`.
pub(super) async fn original(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let asked = Asked { method: &method, headers: &headers };
    finish(serve(&app, ids(path), query.as_deref(), What::Part(Wanted::Original), asked).await)
}

/// GET and HEAD `/media/{mediaId}/preview`, and `/ugd/{mediaId}/preview` of documents.
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let asked = Asked { method: &method, headers: &headers };
    finish(serve(&app, ids(path), query.as_deref(), What::Part(Wanted::Preview), asked).await)
}

/// GET and HEAD `/media/{mediaId}/v1/{transform}/{name}`. The path is read as it came: nothing of it
/// is ever written with a percent sign.
pub(super) async fn transform(
    State(app): State<Arc<App>>,
    uri: Uri,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let asked = Asked { method: &method, headers: &headers };
    let mut parts = uri.path().splitn(5, '/').skip(2);
    let (media_id, path) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    let what = What::Transform(path);
    finish(serve(&app, Ok(media_id.to_owned()), query.as_deref(), what, asked).await)
}

/// What a path names.
enum What<'a> {
    Part(Wanted),
    Transform(&'a str),
}

/// Gives every answer of a link, refusals too, its safe headers. A refusal is not kept: the
/// same link may open later, for example when a preview has been made.
fn finish(answer: Result<Response>) -> Response {
    let mut response = answer.unwrap_or_else(|error| {
        let mut refusal = error.into_response();
        set(refusal.headers_mut(), header::CACHE_CONTROL, "no-store");
        refusal
    });
    safe_headers(response.headers_mut());
    response
}

async fn serve(
    app: &Arc<App>,
    path: Result<String>,
    query: Option<&str>,
    what: What<'_>,
    asked: Asked<'_>,
) -> Result<Response> {
    let not_found = || Error::NotFound { what: "file", data: json!({}) };
    let path = path?;
    let media_id = MediaId::parse(&path).ok_or_else(not_found)?;
    let site = app.registry.site_by_prefix(media_id.prefix).ok_or_else(not_found)?;
    let query = Query::parse(query);
    let token = query.one("token").ok().flatten().unwrap_or_default();
    let now_ms = app.clock.now_ms();
    let checked = app.keys.check_media(token, site.id, media_id.attachment_id, now_ms);
    let expires_s = checked.map_err(|refused| Error::InvalidLink {
        problem: match refused {
            TokenRefused::Forged => "this link is not valid",
            TokenRefused::Expired => "this link has expired; ask for the attachment again",
        },
    })?;
    let wanted = match what {
        What::Part(wanted) => wanted,
        What::Transform(path) => allowed(app, &media_id, path, &asked)?,
    };
    let opened = download::open(app, site.id, media_id.attachment_id, wanted).await?;
    let opened = opened
        .filter(|opened| opened.attachment.media_id(&site.media_prefix) == media_id)
        .ok_or_else(not_found)?;
    let left_s = i64::from(expires_s) - now_ms / 1_000;
    answer(opened, &wanted, left_s, asked).await
}

/// The transform of a path, if the settings allow it: before any work is done (S38).
fn allowed(app: &App, media_id: &MediaId<'_>, path: &str, asked: &Asked<'_>) -> Result<Wanted> {
    let allowed = app.config.transforms;
    if allowed == TransformsAllowed::Off {
        let problem = "this server makes no transforms (setting transforms)".to_owned();
        return Err(Error::PermissionDenied { problem });
    }
    let transform = Transform::parse(path)
        .map_err(|refused| Error::Invalid(refused.into_iter().map(violation).collect()))?;
    let is_png = media_id.extension == "png";
    if allowed == TransformsAllowed::Presets && !transform.is_preset(is_png) {
        let problem = "this link opens only the transforms that are presets (setting transforms)";
        return Err(Error::PermissionDenied { problem: problem.to_owned() });
    }
    Ok(Wanted::Transform(transform, asked.reads_webp()))
}

fn violation(refused: Refused) -> Violation {
    let Refused { token, problem } = refused;
    let other = |rule, data, text: &str| Violation::new(token, Rule::Other(rule, data), text);
    match problem {
        Problem::Form => {
            other("TRANSFORM_FORM", json!({}), "is not <step>/<options>/<name>, or crop before it")
        }
        Problem::Missing => Violation::required(token),
        Problem::NotAnInteger => Violation::new(token, Rule::Format("INT32"), "is not an integer"),
        Problem::NotANumber => Violation::new(
            token,
            Rule::Format("NUMBER"),
            "is not made of as many plain numbers as it needs",
        ),
        Problem::UnknownValue(value) => {
            other("INVALID_ENUM_VALUE", json!({ "value": value }), "is not one of its values")
        }
        Problem::Below(least) => {
            let rule = u64::try_from(least)
                .map_or(Rule::Other("MIN", json!({ "threshold": least })), Rule::Min);
            Violation::new(token, rule, format!("must be at least {least}"))
        }
        Problem::Above(most) => {
            let rule = Rule::Max(u64::from(most.unsigned_abs()));
            Violation::new(token, rule, format!("must be at most {most}"))
        }
        Problem::Doubled => other("DOUBLED_OPTION", json!({}), "must not be given more than once"),
        Problem::NotHere => other("FIELD_NOT_ALLOWED", json!({}), "is no option of this step"),
        Problem::Unknown(text) => {
            other("UNKNOWN_OPTION", json!({ "option": text }), "has a part that is not known")
        }
        Problem::NotMade => other("NOT_MADE", json!({}), "is not made by this server"),
    }
}
