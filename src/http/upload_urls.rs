//! Generate upload URL (contract §2, §4): validates the request and signs what it permits.

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
use super::error::validation_error;
use super::request::{
    CONTACT_ID, Query, Violations, array_field, at_most_chars, json_object, same_guid, text_field,
    without_nul,
};
use crate::actions::upload::check_contact;
use crate::app::App;
use crate::domain::file_name::{FileName, FileNameError, MAX_FILE_NAME_CHARS};
use crate::domain::hex;
use crate::domain::ids::{AttachmentId, ContactId};
use crate::domain::media_type::{MediaType, SUPPORTED_DOCUMENTS, extension_fits};
use crate::domain::scope::Scope;
use crate::domain::signing::UploadGrant;
use crate::error::{Error, Result, Rule, Violation};

/// Longest `mimeType` in characters (contract §4).
const MAX_MIME_TYPE_CHARS: usize = 255;

/// Most files of one request: with the longest names they fit into the largest body.
pub(super) const MAX_UPLOAD_URLS: usize = 40;

/// POST `/contacts/v4/attachments/{contactId}/upload-url`. Signs a URL; nothing is stored.
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let path = ids(path)?;
    let body = json_object(body, idle(&app)).await?;
    let query = Query::parse(query.as_deref());
    let mut violations = Violations::default();
    let repeated = violations.collect(text_field(&body, CONTACT_ID)).flatten();
    let copies = std::iter::once(path.as_str()).chain(query.all(CONTACT_ID)).chain(repeated);
    let contact = violations.collect(same_guid(CONTACT_ID, copies));
    let upload = UploadRequest::read(&body, app.config.upload_max_bytes, violations)?;
    let contact = ContactId(contact.unwrap_or_default());
    check_contact(&app, caller.site().id, contact, upload.size_bytes.unwrap_or(0)).await?;
    Ok(answer::json(StatusCode::OK, &upload.sign(&app, &caller, contact)))
}

/// POST `/dossier/v1/contacts/{contact}/upload-urls`: the same for several `files`, each with a URL
/// or an error of its own. Quotas are checked when the bytes arrive.
pub(super) async fn generate_many(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let path = ids(path)?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let contact = violations.collect(same_guid(CONTACT_ID, [path.as_str()]));
    let files = violations.collect(files(&body));
    violations.check()?;
    let contact = ContactId(contact.unwrap_or_default());
    check_contact(&app, caller.site().id, contact, 0).await?;
    let mut uploads = Vec::new();
    for file in files.unwrap_or_default() {
        let upload = UploadRequest::read(file, app.config.upload_max_bytes, Violations::default());
        uploads.push(match upload {
            Ok(upload) => upload.sign(&app, &caller, contact),
            Err(error) => match &error {
                Error::Invalid(violations) => {
                    json!({ "error": validation_error(&error.to_string(), violations) })
                }
                _ => return Err(error),
            },
        });
    }
    Ok(answer::json(StatusCode::OK, &json!({ "uploads": uploads })))
}

fn files(body: &Map<String, Value>) -> Field<Vec<&Map<String, Value>>> {
    let field = "files";
    let given = array_field(body, field)?.filter(|given| !given.is_empty());
    let given = given.ok_or_else(|| Violation::required(field))?;
    if given.len() > MAX_UPLOAD_URLS {
        let description = format!("must contain at most {MAX_UPLOAD_URLS} files");
        return Err(Violation::new(field, Rule::Max(MAX_UPLOAD_URLS as u64), description));
    }
    let objects = given.iter().map(Value::as_object).collect::<Option<_>>();
    objects
        .ok_or_else(|| Violation::new(field, Rule::Format("OBJECT"), "must contain only objects"))
}

/// A file to sign an upload URL for.
struct UploadRequest {
    file_name: FileName,
    mime_type: MediaType,
    size_bytes: Option<u64>,
    sha256: Option<[u8; 32]>,
}

impl UploadRequest {
    /// Parses it. Violations are added to those found before.
    fn read(body: &Map<String, Value>, max_bytes: u64, mut violations: Violations) -> Result<Self> {
        let file_name = violations.collect(file_name(body));
        let mime_type = violations.collect(mime_type(body));
        if let (Some(name), Some(mime_type)) = (&file_name, &mime_type) {
            violations.collect(extension_agrees(name, mime_type));
        }
        let size_bytes = violations.collect(size_in_bytes(body, max_bytes)).flatten();
        let sha256 = violations.collect(sha256(body)).flatten();
        violations.check()?;
        let (Some(file_name), Some(mime_type)) = (file_name, mime_type) else {
            return Err(Error::Internal(anyhow::anyhow!("a missing field was not reported")));
        };
        Ok(Self { file_name, mime_type, size_bytes, sha256 })
    }

    fn sign(self, app: &App, caller: &Caller, contact_id: ContactId) -> Value {
        let now_s = u32::try_from(app.clock.now_ms() / 1_000).unwrap_or(u32::MAX);
        let grant = UploadGrant {
            expires_s: now_s.saturating_add(app.config.upload_url_life_seconds),
            site_id: caller.site().id,
            key_id: caller.key_id(),
            contact_id,
            attachment_id: AttachmentId(Uuid::now_v7()),
            max_bytes: app.config.upload_max_bytes,
            size_bytes: self.size_bytes,
            sha256: self.sha256,
            mime_type: self.mime_type.as_str().to_owned(),
            file_name: self.file_name.as_str().to_owned(),
        };
        let url = format!("{}upload/{}", app.public_url, app.keys.sign_upload(&grant));
        json!({ "uploadUrl": url })
    }
}

/// A field's value, or the rule that it breaks.
pub(super) type Field<T> = std::result::Result<T, Violation>;

fn file_name(body: &Map<String, Value>) -> Field<FileName> {
    let field = "fileName";
    let name = text_field(body, field)?.ok_or_else(|| Violation::required(field))?;
    checked_name(field, name)
}

/// Parses a file name given in `field`.
pub(super) fn checked_name(field: &'static str, name: &str) -> Field<FileName> {
    FileName::new(without_nul(field, name)?.to_owned()).map_err(|error| match error {
        FileNameError::Empty => {
            Violation::new(field, Rule::MinLength(1), "must have at least 1 character")
        }
        FileNameError::TooLong => {
            let rule = Rule::MaxLength(MAX_FILE_NAME_CHARS as u64);
            let description = format!("must have at most {MAX_FILE_NAME_CHARS} characters");
            Violation::new(field, rule, description)
        }
    })
}

fn mime_type(body: &Map<String, Value>) -> Field<MediaType> {
    let field = "mimeType";
    let text = text_field(body, field)?.ok_or_else(|| Violation::required(field))?;
    if text.is_empty() {
        let rule = Rule::MinLength(1);
        return Err(Violation::new(field, rule, "must have at least 1 character"));
    }
    at_most_chars(field, text, MAX_MIME_TYPE_CHARS)?;
    MediaType::parse(text).map_err(|_| {
        let supported: Vec<&str> = SUPPORTED_DOCUMENTS.iter().copied().chain(["image/*"]).collect();
        let data = json!({ "mimeType": text, "supported": supported });
        let rule = Rule::Other("UNSUPPORTED_MIME_TYPE", data);
        Violation::new(field, rule, "is not a supported MIME type")
    })
}

fn extension_agrees(name: &FileName, media_type: &MediaType) -> Field<()> {
    if extension_fits(name.as_str(), media_type) {
        return Ok(());
    }
    let data = json!({ "mimeType": media_type.as_str() });
    let rule = Rule::Other("EXTENSION_MISMATCH", data);
    let description = format!("must have an extension of the MIME type {media_type}");
    Err(Violation::new("fileName", rule, description))
}

/// An additive field: the exact size, as a number or a string of digits (contract §4).
fn size_in_bytes(body: &Map<String, Value>, max_bytes: u64) -> Field<Option<u64>> {
    let field = "sizeInBytes";
    let size = match body.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let not_a_size =
        || Violation::new(field, Rule::Format("UINT64"), "is not a whole number of bytes");
    let size = size.ok_or_else(not_a_size)?;
    if size > max_bytes {
        let description = format!("must be at most {max_bytes}");
        return Err(Violation::new(field, Rule::Max(max_bytes), description));
    }
    Ok(Some(size))
}

/// An additive field: the SHA-256 of the file in hexadecimal (contract §4).
fn sha256(body: &Map<String, Value>) -> Field<Option<[u8; 32]>> {
    let field = "sha256";
    let Some(text) = text_field(body, field)? else { return Ok(None) };
    let hash = hex::decode_32(text);
    hash.map(Some).ok_or_else(|| {
        Violation::new(field, Rule::Format("SHA256"), "is not 64 hexadecimal digits")
    })
}
