//! Error responses and their schemas.

use serde_json::{Value, json};

/// A placeholder among the codes: stands for a list of violated fields.
pub(super) const VALIDATION: &str = "(validation)";

/// The response for an error status with one of `codes`.
pub(super) fn response(status: u16, codes: &[&'static str]) -> Value {
    let mut named: Vec<&str> = codes.iter().copied().filter(|code| *code != VALIDATION).collect();
    named.sort_unstable();
    named.dedup();
    let mut forms = Vec::new();
    if codes.contains(&VALIDATION) {
        forms.push(json!({ "$ref": "#/components/schemas/ValidationError" }));
    }
    if !named.is_empty() {
        forms.push(json!({ "$ref": "#/components/schemas/ApplicationError" }));
    }
    let schema = match forms.len() {
        0 => json!({ "$ref": "#/components/schemas/SystemError" }),
        1 => forms.remove(0),
        _ => json!({ "anyOf": forms }),
    };
    let mut response = json!({
        "description": description(status),
        "content": { "application/json": { "schema": schema } },
    });
    if !named.is_empty() {
        response["x-codes"] = json!(named);
    }
    if matches!(status, 429 | 503) {
        response["headers"]["Retry-After"] = json!({ "$ref": "#/components/headers/retryAfter" });
    }
    response
}

/// The schema of an error with a code. `x-codes` of a response lists its possible codes.
pub(super) fn application_error() -> Value {
    json!({
        "type": "object",
        "required": ["message", "details"],
        "properties": {
            "message": { "type": "string", "description": "For people." },
            "details": {
                "type": "object",
                "required": ["applicationError"],
                "properties": { "applicationError": {
                    "type": "object",
                    "required": ["code", "description", "data"],
                    "properties": {
                        "code": { "type": "string", "description": "Stable code for programs." },
                        "description": { "type": "string", "description": "The same as `message`." },
                        "data": { "type": "object", "description": "Facts for programs; its fields depend on the code." },
                    },
                } },
            },
        },
    })
}

/// The schema of a list of violated fields.
pub(super) fn validation_error() -> Value {
    let violation = json!({
        "type": "object",
        "required": ["field", "description", "violatedRule"],
        "properties": {
            "field": { "type": "string", "description": "The field's name in the request." },
            "description": { "type": "string", "description": "What is wrong with it, as a predicate to follow its name." },
            "violatedRule": {
                "type": "string",
                "enum": ["REQUIRED_FIELD", "FORMAT", "MAX", "MIN", "MAX_LENGTH", "MIN_LENGTH", "OTHER"],
            },
            "ruleName": { "type": "string", "description": "The name of the rule, if `violatedRule` is `OTHER`." },
            "data": { "type": "object", "description": "The expected type, the threshold or other facts about the rule." },
        },
    });
    json!({
        "type": "object",
        "description": "Values break documented rules. All violations are reported at once.",
        "required": ["message", "details"],
        "properties": {
            "message": { "type": "string" },
            "details": {
                "type": "object",
                "required": ["validationError"],
                "properties": { "validationError": {
                    "type": "object",
                    "required": ["fieldViolations"],
                    "properties": {
                        "fieldViolations": { "type": "array", "minItems": 1, "items": violation },
                    },
                } },
            },
        },
        "examples": [{
            "message": "contactId is not a valid GUID",
            "details": { "validationError": { "fieldViolations": [{
                "field": "contactId", "description": "is not a valid GUID",
                "violatedRule": "FORMAT", "data": { "type": "GUID" },
            }] } },
        }],
    })
}

/// The schema of server errors, which reveal nothing.
pub(super) fn system_error() -> Value {
    json!({
        "type": "object",
        "description": "Deliberately empty. The server's log has the cause, by request id.",
        "required": ["message", "details"],
        "properties": {
            "message": { "type": "string", "const": "" },
            "details": { "type": "object", "maxProperties": 0 },
        },
    })
}

fn description(status: u16) -> &'static str {
    match status {
        400 => "The request is invalid. Nothing was changed.",
        401 => "The API key or session is missing, unknown or expired.",
        403 => "The key, the site, the signature or a quota does not allow the request.",
        404 => "It does not exist, or the caller may not know that it does: both look the same.",
        405 => "The method is not allowed for this URL.",
        408 => "The body did not arrive in time, or the connection closed early.",
        409 => "The request conflicts with the current state.",
        410 => "The upload no longer exists. Create a new one.",
        412 => "A precondition failed, or the tus version is not supported.",
        413 => "The body exceeds the limit. Nothing was kept.",
        415 => "The content type is not the expected one.",
        416 => "The range is outside the file.",
        423 => "Another request is using the upload. Retry later.",
        429 => "The key has used up its requests for this minute.",
        460 => "The chunk does not match `Upload-Checksum` and was discarded.",
        500 => "A server error. The log has the cause.",
        507 => "The disk is full. Nothing was kept.",
        _ => "The server is at capacity, unavailable or read-only. Retry after `Retry-After`.",
    }
}
