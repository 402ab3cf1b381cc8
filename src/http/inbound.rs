//! POST `/dossier/v1/inbound/wix`: receives the vendor's own contact webhooks. The token is the
//! only credential.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::answer;
use super::attachments::idle;
use super::request::{malformed, small_body};
use crate::actions::inbound::apply;
use crate::app::App;
use crate::domain::inbound::{InboundError, Unchecked};
use crate::error::{Error, Result};

/// Applies a webhook. Duplicates and webhooks that change nothing get 200 as well, so that the
/// vendor does not retry them.
pub(super) async fn wix(State(app): State<Arc<App>>, body: Body) -> Result<Response> {
    let body = small_body(body, idle(&app)).await?;
    let body = std::str::from_utf8(&body).map_err(|_| to_error(InboundError::Malformed))?;
    let token = Unchecked::parse(body).map_err(to_error)?;
    // An unknown instance gets the same error as a wrong signature.
    let key = app.db.inbound_key(token.instance_id).await?;
    let key = key.ok_or_else(|| to_error(InboundError::Forged))?;
    let inbound = token.check(&key.public_key, app.clock.now_ms()).map_err(to_error)?;
    let is_new = apply(&app, key.site_id, inbound).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "applied": is_new })))
}

fn to_error(error: InboundError) -> Error {
    match error {
        InboundError::Malformed => malformed(error.to_string(), json!({})),
        InboundError::Forged | InboundError::NotFresh => {
            Error::PermissionDenied { problem: error.to_string() }
        }
    }
}
