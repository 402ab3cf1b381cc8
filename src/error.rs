//! Why the service could not do what was asked. Knows nothing of HTTP: `http::error` gives
//! each variant its status, code and body.

use serde_json::{Value, json};

use crate::domain::ids::{AttachmentId, ContactId};
use crate::domain::quota::OverQuota;

/// Shorthand for results of the service.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the service could not do what was asked.
///
/// Texts are written for the API's user: predicates and short sentences without internals.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values in the request break documented rules; all of them are reported at once.
    #[error("{}", violations_text(.0))]
    Invalid(Vec<Violation>),
    /// The request cannot be read at all (contract §6, code `INVALID_ARGUMENT`).
    #[error("{problem}")]
    Malformed {
        /// What is wrong, as one sentence.
        problem: String,
        /// Facts for programs, such as line and column of a JSON error.
        data: Value,
    },
    /// The uploaded bytes are not acceptable; nothing was kept.
    #[error("{problem}")]
    BadUpload {
        /// Stable code: `MIME_TYPE_MISMATCH`, `EMPTY_FILE`, `CHECKSUM_MISMATCH`, …
        code: &'static str,
        /// What is wrong, as one sentence.
        problem: String,
        /// Facts for programs.
        data: Value,
    },
    /// No or unknown credentials (contract §7).
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A known caller without the right or the site.
    #[error("{problem}")]
    PermissionDenied {
        /// Which right or header is missing.
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
    /// No such attachment, or none this caller may know of (S16: both look the same).
    #[error("{what} was not found")]
    NotFound {
        /// The missing thing, as a noun phrase.
        what: &'static str,
        /// The ids that were asked for.
        data: Value,
    },
    /// The route exists, the method does not.
    #[error("this address does not answer {method}")]
    MethodNotAllowed {
        /// The method that was tried.
        method: String,
    },
    /// The upload URL was used already, for other bytes (design §4).
    #[error("this upload URL was already used for other bytes")]
    AlreadyUploaded,
    /// A resumable upload that cannot go on like this.
    #[error(transparent)]
    Upload(#[from] UploadRefused),
    /// The site or the contact would hold more than it may (S5); nothing was kept.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// What is there does not allow it.
    #[error("{problem}")]
    Conflict {
        /// Stable code: `CONTACT_GONE`.
        code: &'static str,
        /// What is wrong, as one sentence.
        problem: String,
        /// Facts for programs.
        data: Value,
    },
    /// More bytes than allowed; nothing was kept.
    #[error("must have at most {limit_bytes} bytes")]
    TooLarge {
        /// Stable code: `FILE_TOO_LARGE` or `REQUEST_TOO_LARGE`.
        code: &'static str,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// The client went away or stalled mid-body; nothing was kept.
    #[error("{problem}")]
    Interrupted {
        /// What happened, as one sentence.
        problem: &'static str,
    },
    /// A byte range that lies outside the file (RFC 9110 §15.5.17).
    #[error("the range lies outside the file of {size_bytes} bytes")]
    RangeNotSatisfiable {
        /// Size of the file.
        size_bytes: u64,
    },
    /// A precondition header did not hold (RFC 9110 §13).
    #[error("a precondition of the request does not hold")]
    PreconditionFailed,
    /// The key has made all the requests that it may in this minute (contract §7).
    #[error("too many requests; wait {retry_after_seconds} seconds")]
    RateLimited {
        /// When to try again, in seconds.
        retry_after_seconds: u32,
    },
    /// No capacity now; the same request can succeed later.
    #[error("busy")]
    Busy {
        /// When to try again, in seconds.
        retry_after_seconds: u32,
    },
    /// The disk is full; nothing was kept, reads go on (R9).
    #[error("storage is full")]
    StorageFull,
    /// A sync failed: the store takes no writes until it is started again, reads go on (R11).
    #[error("the store takes no writes")]
    ReadOnly,
    /// Our fault. The source is logged once, where it becomes an answer, and never sent.
    #[error("internal error")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// One violated field.
    pub fn invalid(field: &'static str, rule: Rule, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, rule, description)])
    }

    /// The attachment answer of S16: the same for absent, foreign and deleted ones.
    pub fn no_attachment(contact_id: ContactId, attachment_id: AttachmentId) -> Self {
        Self::NotFound {
            what: "attachment",
            data: json!({
                "contactId": contact_id.to_string(),
                "attachmentId": attachment_id.to_string(),
            }),
        }
    }
}

impl Error {
    /// The same for contacts: those that are gone look like those that never were.
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
            // The store of bytes is elsewhere and cannot be used now (R12).
            std::io::ErrorKind::NetworkDown => {
                tracing::warn!(%error, "the store of bytes is away");
                Self::Busy { retry_after_seconds: 5 }
            }
            // No more file handles, in this process or in the system: it passes (R10).
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Self::Busy { retry_after_seconds: 1 }
            }
            _ => Self::Internal(error.into()),
        }
    }
}

/// Why a resumable upload cannot go on like this (contract §9; tus 1.0.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadRefused {
    /// The piece begins elsewhere than where the upload stands.
    #[error("the upload stands at byte {offset_bytes}, which Upload-Offset must name")]
    Offset {
        /// Where it stands.
        offset_bytes: u64,
    },
    /// Ended, expired, replaced by another upload of the same URL, or never begun.
    #[error("this upload is over; begin a new one")]
    Gone,
    /// Every byte is there already: it is an attachment.
    #[error("this upload is complete")]
    Complete {
        /// Size of the attachment.
        size_bytes: u64,
    },
    /// Another request works on it and does not leave.
    #[error("another request is working on this upload")]
    Locked,
    /// The piece is not the one that `Upload-Checksum` announced; nothing of it was kept.
    #[error("the piece does not have the checksum in Upload-Checksum")]
    Checksum,
    /// There is more to come.
    #[error("the upload is not finished")]
    Unfinished {
        /// Where it stands.
        offset_bytes: u64,
        /// Its whole size, if it is known.
        length_bytes: Option<u64>,
    },
    /// `Tus-Resumable` is missing or names another version.
    #[error("Tus-Resumable must be 1.0.0")]
    Version,
    /// A piece of another content type.
    #[error("Content-Type must be application/offset+octet-stream")]
    ContentType,
}

/// One rule that one field breaks (contract §6).
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The request's own name of the field, such as `paging.limit`.
    pub field: &'static str,
    /// The broken rule.
    pub rule: Rule,
    /// A predicate such as "must not be empty": the SDK puts the field's name before it.
    pub description: String,
}

impl Violation {
    /// Joins the parts.
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

/// The vendor's names of broken rules, as far as we send them (contract §6).
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
    /// `OTHER`, with a rule name of ours and facts for programs.
    Other(&'static str, Value),
}

fn violations_text(violations: &[Violation]) -> String {
    let texts: Vec<String> =
        violations.iter().map(|v| format!("{} {}", v.field, v.description)).collect();
    texts.join("; ")
}
