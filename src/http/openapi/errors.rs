//! What refusals look like, and which there are.

use serde_json::{Value, json};

/// In place of a code: a list of violated fields.
pub(super) const VALIDATION: &str = "(validation)";

/// A refusal with a status and one of these codes.
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

/// The form of a refusal with a code; `x-codes` of an answer names those that it may have.
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
                        "code": { "type": "string", "description": "Stable, for programs." },
                        "description": { "type": "string", "description": "The same as `message`." },
                        "data": { "type": "object", "description": "Facts for programs, by the code." },
                    },
                } },
            },
        },
    })
}

/// A list of violated fields.
pub(super) fn validation_error() -> Value {
    let violation = json!({
        "type": "object",
        "required": ["field", "description", "violatedRule"],
        "properties": {
            "field": { "type": "string", "description": "The field by its name in the request." },
            "description": { "type": "string", "description": "What is wrong with it, as a predicate." },
            "violatedRule": {
                "type": "string",
                "enum": ["REQUIRED_FIELD", "FORMAT", "MAX", "MIN", "MAX_LENGTH", "MIN_LENGTH", "OTHER"],
            },
            "ruleName": { "type": "string", "description": "The rule's own name, where it is `OTHER`." },
            "data": { "type": "object", "description": "The expected type, the threshold, or other facts." },
        },
    });
    json!({
        "type": "object",
        "description": "Values break documented rules; all of them are reported at once.",
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

/// What is said of faults of the server: nothing.
pub(super) fn system_error() -> Value {
    json!({
        "type": "object",
        "description": "Nothing is told of what went wrong; the log holds it under the request's id.",
        "required": ["message", "details"],
        "properties": {
            "message": { "type": "string", "const": "" },
            "details": { "type": "object", "maxProperties": 0 },
        },
    })
}

fn description(status: u16) -> &'static str {
    match status {
        400 => "Something in the request cannot be accepted; nothing was changed.",
        401 => "There is no API key, or none that is known.",
        403 => "The key, the site, the signature or a quota does not allow it.",
        404 => "There is none, or none that the caller may know of: both look the same.",
        405 => "This address does not answer the method.",
        408 => "The body did not arrive in time, or ended early.",
        409 => "What is there does not allow it.",
        410 => "The upload is over; a new one can be begun.",
        412 => "A precondition does not hold, or another version of the protocol is asked for.",
        413 => "There are more bytes than allowed; nothing was kept.",
        415 => "The content type is not the one that is expected.",
        416 => "The range lies outside the file.",
        423 => "Another request works on it and does not leave.",
        429 => "The key has made all requests of this minute.",
        460 => "The piece does not have the announced checksum; nothing of it was kept.",
        500 => "A fault of the server, which its log tells more of.",
        507 => "The disk is full; nothing was kept.",
        _ => {
            "There is no capacity, or the store takes no writes; the same request can succeed later."
        }
    }
}
