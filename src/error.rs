//! The service's error type. It knows nothing of HTTP: `http::error` maps each variant to a
//! status, a code and a body.

use serde_json::{Value, json};

use crate::domain::ids::{AttachmentId, ContactId};
use crate::domain::quota::QuotaExceeded;

/// The service's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the service could not fulfil a request.
///
/// Messages are for the API's users: short sentences that reveal no internals.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values in the request break documented rules. All violations are reported at once.
    #[error("{}", violations_text(.0))]
    Invalid(Vec<Violation>),
    /// The request cannot be parsed (contract §6, code `INVALID_ARGUMENT`).
    #[error("{problem}")]
    Malformed {
        /// What is wrong, as one sentence.
        problem: String,
        /// Facts for programs, such as line and column of a JSON error.
        data: Value,
    },
    /// The uploaded bytes were rejected and discarded.
    #[error("{problem}")]
    BadUpload {
        /// Stable code: `MIME_TYPE_MISMATCH`, `EMPTY_FILE`, `CHECKSUM_MISMATCH`, …
        code: &'static str,
        /// What is wrong, as one sentence.
        problem: String,
        /// Facts for programs.
        data: Value,
    },
    /// Credentials are missing or unknown (contract §7).
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// An authenticated caller that lacks the permission or the site.
    #[error("{problem}")]
    PermissionDenied {
        /// Which permission or header is missing.
        problem: String,
    },
    /// An upload URL that is forged, expired or used (contract §8).
    #[error("{problem}")]
    InvalidUploadToken {
        /// What is wrong, as one sentence.
        problem: &'static str,
    },
    /// A media link that is forged or expired.
    #[error("{problem}")]
    InvalidLink {
        /// What is wrong, as one sentence.
        problem: &'static str,
    },
    /// The thing does not exist, or this caller may not know that it does (S16: both look the
    /// same).
    #[error("{what} was not found")]
    NotFound {
        /// The missing thing, as a noun phrase.
        what: &'static str,
        /// The requested ids.
        data: Value,
    },
    /// The route exists, but not for this method.
    #[error("the method {method} is not allowed for this URL")]
    MethodNotAllowed {
        /// The method of the request.
        method: String,
    },
    /// The upload URL was already used, for different bytes (contract §16).
    #[error("this upload URL was already used for different bytes; request a new one")]
    AlreadyUploaded,
    /// A resumable upload cannot continue.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The site or the contact would exceed its quota (S5). Nothing was kept.
    #[error(transparent)]
    QuotaExceeded(#[from] QuotaExceeded),
    /// The request conflicts with the current state.
    #[error("{problem}")]
    Conflict {
        /// Stable code, such as `CONTACT_GONE`.
        code: &'static str,
        /// What is wrong, as one sentence.
        problem: String,
        /// Facts for programs.
        data: Value,
    },
    /// The body exceeds its limit. Nothing was kept.
    #[error("{} must have at most {limit_bytes} bytes", too_large_subject(.code))]
    TooLarge {
        /// Stable code: `FILE_TOO_LARGE` or `REQUEST_TOO_LARGE`.
        code: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// The client disconnected or stalled before the body was complete. Nothing was kept.
    #[error("{problem}")]
    Interrupted {
        /// What happened, as one sentence.
        problem: &'static str,
    },
    /// A byte range outside the file (RFC 9110 §15.5.17).
    #[error("the range is outside the file, which has {size_bytes} bytes")]
    RangeNotSatisfiable {
        /// Size of the file.
        size_bytes: u64,
    },
    /// A precondition header failed (RFC 9110 §13).
    #[error("the file does not match If-Match or If-Unmodified-Since")]
    PreconditionFailed,
    /// The key has used up its requests for this minute (contract §7).
    #[error("too many requests; retry after {retry_after_seconds} seconds")]
    RateLimited {
        /// When to retry, in seconds.
        retry_after_seconds: u32,
    },
    /// No capacity now. The same request can succeed later.
    #[error("busy")]
    Busy {
        /// When to retry, in seconds.
        retry_after_seconds: u32,
    },
    /// The disk is full. Nothing was kept; reads still work (R9).
    #[error("storage is full")]
    StorageFull,
    /// A sync failed: the store is read-only until the server restarts (R11).
    #[error("the store is read-only")]
    ReadOnly,
    /// A server fault. The source is logged once, when it becomes a response, and never sent.
    #[error("internal error")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// A violation of one field.
    pub fn invalid(field: &'static str, rule: Rule, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, rule, description)])
    }

    /// The same 404 for attachments that are absent, foreign or deleted (S16).
    pub fn no_attachment(contact_id: ContactId, attachment_id: AttachmentId) -> Self {
        Self::NotFound {
            what: "attachment",
            data: json!({
                "contactId": contact_id.to_string(),
                "attachmentId": attachment_id.to_string(),
            }),
        }
    }

    /// The same for contacts: a removed contact looks like one that never existed.
    pub fn no_contact(contact_id: ContactId) -> Self {
        let data = json!({ "contactId": contact_id.to_string() });
        Self::NotFound { what: "contact", data }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::StorageFull
            }
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            // The blob store is remote and unavailable (R12).
            std::io::ErrorKind::NetworkDown => {
                tracing::warn!(%error, "the blob store is unavailable");
                Self::Busy { retry_after_seconds: 5 }
            }
            // Out of file descriptors, in this process or system-wide. Transient (R10).
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Self::Busy { retry_after_seconds: 1 }
            }
            _ => Self::Internal(error.into()),
        }
    }
}

/// Why a resumable upload cannot continue (contract §9; tus 1.0.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The chunk does not start at the upload's offset.
    #[error("Upload-Offset must be {offset_bytes}, the upload's current offset")]
    Offset {
        /// The upload's current offset.
        offset_bytes: u64,
    },
    /// Terminated, expired, replaced by another upload of the same URL, or never created.
    #[error("this upload no longer exists; create a new one")]
    Gone,
    /// Every byte was received: the upload is an attachment.
    #[error("this upload is complete")]
    Complete {
        /// Size of the attachment.
        size_bytes: u64,
    },
    /// Another request holds the upload and does not release it.
    #[error("another request is using this upload; retry later")]
    Locked,
    /// The chunk does not match `Upload-Checksum`. It was discarded.
    #[error("the chunk does not match Upload-Checksum; send it again")]
    Checksum,
    /// Bytes are missing.
    #[error("the upload is incomplete; send the bytes from offset {offset_bytes} on first")]
    Unfinished {
        /// The upload's current offset.
        offset_bytes: u64,
        /// Its total size, if known.
        length_bytes: Option<u64>,
    },
    /// `Tus-Resumable` is missing or names another version.
    #[error("Tus-Resumable must be 1.0.0")]
    Version,
    /// A chunk with a different content type.
    #[error("Content-Type must be application/offset+octet-stream")]
    ContentType,
}

/// A rule that a field breaks (contract §6).
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The field's name in the request, such as `paging.limit`.
    pub field: &'static str,
    /// The broken rule.
    pub rule: Rule,
    /// A predicate such as "must not be empty": the SDK prefixes it with the field's name.
    pub description: String,
}

impl Violation {
    /// Creates a violation.
    pub fn new(field: &'static str, rule: Rule, description: impl Into<String>) -> Self {
        Self { field, rule, description: description.into() }
    }

    /// `REQUIRED_FIELD`: absent or null.
    pub fn required(field: &'static str) -> Self {
        Self::new(field, Rule::Required, "must not be empty")
    }

    /// `FORMAT` with type `GUID`.
    pub fn not_a_guid(field: &'static str) -> Self {
        Self::new(field, Rule::Format("GUID"), "is not a valid GUID")
    }
}

/// The vendor's rule names that this server sends (contract §6).
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// `REQUIRED_FIELD`.
    Required,
    /// `FORMAT`, with the expected type, such as `GUID` or `INT32`.
    Format(&'static str),
    /// `MAX`, with the threshold.
    Max(u64),
    /// `MIN`, with the threshold.
    Min(u64),
    /// `MAX_LENGTH` in characters, with the threshold.
    MaxLength(u64),
    /// `MIN_LENGTH` in characters, with the threshold.
    MinLength(u64),
    /// `OTHER`, with our own rule name and facts for programs.
    Other(&'static str, Value),
}

fn too_large_subject(code: &str) -> &'static str {
    if code == "FILE_TOO_LARGE" { "the file" } else { "the request body" }
}

fn violations_text(violations: &[Violation]) -> String {
    let texts: Vec<String> =
        violations.iter().map(|v| format!("{} {}", v.field, v.description)).collect();
    texts.join("; ")
}
