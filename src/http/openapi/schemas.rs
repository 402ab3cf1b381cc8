//! Schemas and examples. The examples' people are fictional, and no server generates their ids.

use serde_json::{Value, json};

use super::errors;
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::domain::media_type::FileKind;
use crate::domain::webhook::{EventTypes, MAX_URL_CHARS};

/// Ids of the examples.
pub(super) const SITE: &str = "5b0c1d2e-0000-4000-8000-000000000001";
pub(super) const CONTACT: &str = "5b0c1d2e-0000-4000-8000-000000000002";
pub(super) const OTHER_CONTACT: &str = "5b0c1d2e-0000-4000-8000-000000000003";
pub(super) const ATTACHMENT: &str = "5b0c1d2e-0000-7000-8000-000000000004";
pub(super) const WEBHOOK: &str = "5b0c1d2e-0000-4000-8000-000000000005";
pub(super) const RECEIPT: &str = "5b0c1d2e-0000-7000-8000-000000000006";
pub(super) const EVENT: &str = "5b0c1d2e-0000-7000-8000-000000000007";
const APP: &str = "5b0c1d2e-0000-4000-8000-000000000008";
pub(super) const TIME: &str = "2027-01-15T08:00:00.000Z";
const LATER: &str = "2027-02-14T08:00:00.000Z";
const LINK: &str = "https://files.example.net/media/\
                    3fa91c_5b0c1d2e000070008000000000000004~mv2.png?token=kSample";

/// A GUID.
pub(super) fn guid() -> Value {
    json!({
        "type": "string", "format": "uuid",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    })
}

/// A non-empty string of bounded length.
pub(super) fn text(most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most })
}

/// An integer within bounds.
pub(super) fn integer(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// [`integer`] with a default.
pub(super) fn integer_or(least: u64, most: u64, default: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most, "default": default })
}

/// A media id.
pub(super) fn media_id() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{6}_[0-9a-f]{32}(~mv2)?\\.[0-9A-Za-z]+$" })
}

/// An empty object.
pub(super) fn empty() -> Value {
    json!({ "type": "object", "maxProperties": 0 })
}

/// A reference to a named schema.
pub(super) fn schema_ref(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object with these fields, all required.
pub(super) fn object(fields: Value) -> Value {
    let names: Vec<&String> =
        fields.as_object().map(|fields| fields.keys().collect()).unwrap_or_default();
    json!({ "type": "object", "required": names, "properties": fields })
}

/// [`object`] with some optional fields.
fn partial(fields: Value, optional: &[&str]) -> Value {
    let mut object = object(fields);
    if let Some(required) = object["required"].as_array_mut() {
        required.retain(|name| !name.as_str().is_some_and(|name| optional.contains(&name)));
    }
    object
}

/// A list of items of one schema.
pub(super) fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// A time in UTC with milliseconds.
pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn time_or_null() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

/// A number of bytes as a string of digits.
fn digits() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+$" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn any_text() -> Value {
    json!({ "type": "string" })
}

/// All named schemas.
pub(super) fn all() -> Value {
    json!({
        "ApplicationError": errors::application_error(),
        "ValidationError": errors::validation_error(),
        "SystemError": errors::system_error(),
        "Attachment": attachment(),
        "Media": media(),
        "PageMetadata": object(json!({
            "count": { "type": "integer", "minimum": 0, "description": "Attachments in this response." },
            "offset": count(),
            "total": { "type": "integer", "minimum": 0, "description": "Attachments of the contact." },
            "tooManyToCount": { "type": "boolean", "const": false },
        })),
        "FileDescriptor": file_descriptor(),
        "Contact": contact(),
        "File": annotated_file(),
        "ApiKey": super::administering::key(),
        "TrashedAttachment": object(json!({
            "id": guid(), "fileName": any_text(), "sizeInBytes": digits(),
            "deletedDate": time(), "purgeDate": time(),
        })),
        "SignedReceipt": signed_receipt(),
        "Webhook": webhook(),
        "Delivery": delivery(),
        "PublicKeys": public_keys(),
        "UploadRequest": upload_request(),
        "WebhookChange": webhook_change(),
    })
}

fn media() -> Value {
    let mut media = partial(
        json!({
            "id": media_id(), "url": { "type": "string", "format": "uri" }, "height": count(),
            "width": count(), "urlExpirationDate": time(),
        }),
        &["id", "height", "width"],
    );
    media["description"] = json!(
        "A link, valid until `urlExpirationDate`. `id` is absent for the SDK, which would hide the URL \
         behind it. Only images have `height` and `width`."
    );
    media
}

fn attachment() -> Value {
    let kinds = ["image", "previewImage", "document", "documentPreview"];
    partial(
        json!({
            "id": guid(), "fileName": any_text(), "mimeType": any_text(),
            "attachmentType": { "type": "string", "enum": ["IMAGE", "OTHER"] },
            "image": schema_ref("Media"), "previewImage": schema_ref("Media"), "document": schema_ref("Media"),
            "documentPreview": schema_ref("Media"),
        }),
        &kinds,
    )
}

/// An attachment of the examples.
pub(super) fn attachment_example() -> Value {
    json!({
        "id": ATTACHMENT, "fileName": "harbour-plan.png", "mimeType": "image/png",
        "attachmentType": "IMAGE",
        "image": {
            "id": "3fa91c_5b0c1d2e000070008000000000000004~mv2.png", "url": LINK, "height": 480,
            "width": 640, "urlExpirationDate": TIME,
        },
    })
}

/// A key of the examples.
pub(super) fn key_example() -> Value {
    json!({
        "id": APP, "name": "Front desk",
        "scopes": ["CONTACTS_ATTACHMENTS.VIEW", "CONTACTS_ATTACHMENTS.MODIFY"], "role": "editor",
        "createdAt": TIME, "revokedAt": null,
    })
}

fn annotated_file() -> Value {
    let kinds: Vec<&str> = FileKind::NAMED.iter().map(|(name, _)| *name).collect();
    let pixels = json!({ "type": ["integer", "null"], "minimum": 1 });
    let note = json!({ "type": ["string", "null"] });
    object(json!({
        "id": guid(), "fileName": any_text(), "mimeType": any_text(),
        "type": { "type": "string", "enum": kinds }, "sizeBytes": digits(), "width": pixels,
        "height": pixels, "createdAt": time(),
        "sha256": { "type": "string", "pattern": "^[0-9a-f]{64}$" }, "label": note,
        "description": note, "url": { "type": "string", "format": "uri" },
        "previewUrl": { "type": ["string", "null"], "format": "uri" }, "linksExpireAt": time(),
    }))
}

/// A file of the examples.
pub(super) fn annotated_example() -> Value {
    json!({
        "id": ATTACHMENT, "fileName": "harbour-plan.png", "mimeType": "image/png",
        "type": "image", "sizeBytes": "2048", "width": 640, "height": 480, "createdAt": TIME,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "label": "Harbour", "description": null, "url": LINK, "previewUrl": null,
        "linksExpireAt": TIME,
    })
}

fn file_descriptor() -> Value {
    let document = json!({
        "id": media_id(), "url": any_text(), "filename": any_text(), "sizeInBytes": digits(),
    });
    let mut image = document.clone();
    image["height"] = count();
    image["width"] = count();
    let faces = json!({ "type": "array", "maxItems": 0 });
    let media = partial(
        json!({
            "document": object(document),
            "image": object(json!({ "image": object(image), "faces": faces })),
        }),
        &["document", "image"],
    );
    let file = partial(
        json!({
            "id": media_id(), "displayName": any_text(), "url": any_text(),
            "thumbnailUrl": any_text(), "parentFolderId": any_text(),
            "hash": {
                "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the bytes.",
            },
            "sizeInBytes": digits(), "private": { "type": "boolean" },
            "mediaType": { "type": "string", "enum": ["IMAGE", "DOCUMENT"] },
            "media": media, "operationStatus": { "type": "string", "const": "READY" },
            "labels": { "type": "array", "maxItems": 0 }, "createdDate": time(), "updatedDate": time(),
            "siteId": guid(),
        }),
        &["thumbnailUrl"],
    );
    object(json!({ "file": file }))
}

/// An upload's response in the examples.
pub(super) fn file_example() -> Value {
    let id = "3fa91c_5b0c1d2e000070008000000000000004.csv";
    let url = format!("https://files.example.net/ugd/{id}?token=kSample");
    let document = json!({ "id": id, "url": url, "filename": "tides.csv", "sizeInBytes": "2048" });
    json!({ "file": {
        "id": id, "displayName": "tides.csv", "url": url, "parentFolderId": "media-root",
        "hash": "0f".repeat(32), "sizeInBytes": "2048", "private": true, "mediaType": "DOCUMENT",
        "media": { "document": document }, "operationStatus": "READY", "labels": [],
        "createdDate": TIME, "updatedDate": TIME, "siteId": SITE,
    } })
}

fn contact() -> Value {
    partial(
        json!({
            "id": guid(), "state": { "type": "string", "enum": ["ACTIVE", "TRASHED"] },
            "label": { "type": ["string", "null"] }, "announcedDate": time_or_null(),
            "attachmentCount": count(), "totalBytes": digits(), "lastActivityAt": time(),
            "deletedDate": time(), "purgeDate": time(), "contactId": guid(),
        }),
        &["deletedDate", "purgeDate", "contactId"],
    )
}

/// A contact of the examples.
pub(super) fn contact_example() -> Value {
    json!({
        "id": CONTACT, "state": "ACTIVE", "label": "Vera Lind", "announcedDate": TIME,
        "attachmentCount": 3, "totalBytes": "48213", "lastActivityAt": TIME,
    })
}

/// An attachment in the trash, of the examples.
pub(super) fn trashed_example() -> Value {
    json!({
        "id": ATTACHMENT, "fileName": "harbour-plan.png", "sizeInBytes": "2048",
        "deletedDate": TIME, "purgeDate": LATER,
    })
}

fn signed_receipt() -> Value {
    let file = object(json!({ "attachmentId": guid(), "bytesErasedDate": time_or_null() }));
    let receipt = object(json!({
        "iat": { "type": "integer" }, "receiptId": guid(), "siteId": guid(), "contactId": guid(),
        "mergedContactIds": list(guid()), "requestedDate": time(), "rowsErasedDate": time_or_null(),
        "completedDate": time_or_null(), "attachmentCount": count(), "attachments": list(file),
    }));
    object(json!({
        "receipt": receipt,
        "signed": { "type": "string", "description": "The receipt as a JWS (RS256)." },
    }))
}

/// A receipt of the examples.
pub(super) fn receipt_example() -> Value {
    json!({
        "receipt": {
            "iat": 1_799_999_999, "receiptId": RECEIPT, "siteId": SITE, "contactId": CONTACT,
            "mergedContactIds": [], "requestedDate": TIME, "rowsErasedDate": TIME,
            "completedDate": null, "attachmentCount": 1,
            "attachments": [{ "attachmentId": ATTACHMENT, "bytesErasedDate": null }],
        },
        "signed": "eyJhbGciOiJSUzI1NiJ9.sample.sample",
    })
}

fn event_types() -> Value {
    json!({
        "type": "array", "items": { "type": "string", "enum": EventTypes::ALL.names() }, "minItems": 1,
    })
}

fn webhook() -> Value {
    partial(
        json!({
            "id": guid(), "url": any_text(), "eventTypes": event_types(), "appId": guid(),
            "instanceId": guid(), "enabled": { "type": "boolean" }, "failuresInARow": count(),
            "createdDate": time(), "pausedUntil": time(), "expirationDate": time(),
        }),
        &["pausedUntil", "expirationDate"],
    )
}

/// A webhook of the examples.
pub(super) fn webhook_example() -> Value {
    json!({
        "id": WEBHOOK, "url": "https://crm.example.net/files", "eventTypes": EventTypes::ALL.names(),
        "appId": APP, "instanceId": SITE, "enabled": true, "failuresInARow": 0, "createdDate": TIME,
    })
}

fn delivery() -> Value {
    let attempt = object(json!({
        "attempt": count(), "startedDate": time(), "milliseconds": count(),
        "status": { "type": ["integer", "null"] }, "problem": { "type": ["string", "null"] },
        "response": any_text(),
    }));
    partial(
        json!({
            "eventId": guid(), "eventType": { "type": "string", "enum": EventTypes::ALL.names() },
            "contactId": guid(), "attachmentId": guid(), "eventTime": time(),
            "state": { "type": "string", "enum": ["pending", "delivered", "dead"] },
            "attempts": list(attempt), "nextAttempt": time(),
        }),
        &["nextAttempt"],
    )
}

/// A delivery of the examples.
pub(super) fn delivery_example() -> Value {
    json!({
        "eventId": EVENT, "eventType": EventTypes::ALL.names()[0], "contactId": CONTACT,
        "attachmentId": ATTACHMENT, "eventTime": TIME, "state": "delivered",
        "attempts": [{
            "attempt": 1, "startedDate": TIME, "milliseconds": 41, "status": 200, "problem": null,
            "response": "ok",
        }],
    })
}

fn public_keys() -> Value {
    let jwk = object(json!({
        "kty": { "const": "RSA" }, "use": { "const": "sig" }, "alg": { "const": "RS256" },
        "kid": any_text(), "n": any_text(), "e": any_text(),
    }));
    let key = object(json!({
        "kid": any_text(), "publicKey": any_text(), "publicKeyBase64": any_text(), "signsFrom": time(),
    }));
    partial(json!({ "keys": list(jwk), "current": key, "other": key }), &["other"])
}

/// The keys of the examples.
pub(super) fn public_keys_example() -> Value {
    let jwk = json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "sample", "n": "sample", "e": "AQAB",
    });
    json!({
        "keys": [jwk],
        "current": {
            "kid": "sample", "publicKey": "-----BEGIN PUBLIC KEY-----\n…", "publicKeyBase64": "sample",
            "signsFrom": TIME,
        },
    })
}

fn upload_request() -> Value {
    json!({
        "type": "object",
        "required": ["fileName", "mimeType"],
        "properties": {
            "fileName": text(MAX_FILE_NAME_CHARS),
            "mimeType": {
                "type": "string", "minLength": 1, "maxLength": 255,
                "description": "An image type, or the type of a CSV, Word, Excel, PowerPoint or PDF file. \
                                The file name's extension must match it.",
            },
            "sizeInBytes": {
                "type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]+$",
                "description": "The exact size, which the upload must then have.",
            },
            "sha256": {
                "type": ["string", "null"], "pattern": "^[0-9a-fA-F]{64}$",
                "description": "The SHA-256, which the upload must then have.",
            },
            "contactId": { "type": ["string", "null"], "format": "uuid", "description": "As in the path." },
        },
    })
}

fn webhook_change() -> Value {
    let maybe_guid = json!({ "type": ["string", "null"], "format": "uuid" });
    json!({
        "type": "object",
        "properties": {
            "url": {
                "type": ["string", "null"], "maxLength": MAX_URL_CHARS, "format": "uri",
                "description": "An https URL with a public host, without credentials or fragment.",
            },
            "eventTypes": {
                "type": ["array", "null"], "minItems": 1,
                "items": { "type": "string", "description": "With or without the prefix `wix.contacts.v4.`." },
            },
            "appId": maybe_guid,
            "instanceId": maybe_guid,
            "enabled": { "type": ["boolean", "null"] },
        },
    })
}
