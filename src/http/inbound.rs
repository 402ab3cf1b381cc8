//! POST `/dossier/v1/inbound/wix`: the vendor's own webhooks of contacts. The token is all the authority
//! there is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::answer;
use super::attachments::idle;
use super::request::{malformed, small_body};
use crate::actions::inbound::hear;
use crate::app::App;
use crate::domain::inbound::{InboundRefused, Unchecked};
use crate::error::{Error, Result};

/// Takes a webhook. What was told before or changes nothing is answered 200 as well, so that it is
/// not sent again.
pub(super) async fn wix(State(app): State<Arc<App>>, body: Body) -> Result<Response> {
    let body = small_body(body, idle(&app)).await?;
    let body = std::str::from_utf8(&body).map_err(|_| refused(InboundRefused::Malformed))?;
    let token = Unchecked::parse(body).map_err(refused)?;
    // One that is not known is answered as one whose signature is wrong.
    let key = app.db.inbound_key(token.instance_id).await?;
    let key = key.ok_or_else(|| refused(InboundRefused::Forged))?;
    let inbound = token.check(&key.public_key, app.clock.now_ms()).map_err(refused)?;
    let is_new = hear(&app, key.site_id, inbound).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "applied": is_new })))
}

fn refused(refused: InboundRefused) -> Error {
    match refused {
        InboundRefused::Malformed => malformed(refused.to_string(), json!({})),
        InboundRefused::Forged | InboundRefused::NotFresh => {
            Error::PermissionDenied { problem: refused.to_string() }
        }
    }
}
