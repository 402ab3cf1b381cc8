//! The failure of a client command: what happened and why, what to do next, and the exit code.

use std::error::Error as _;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::domain::file_name::escape_hidden;

/// The result type of the client.
pub type Result<T> = std::result::Result<T, Failure>;

/// The kind of a failure, for programs. Each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any failure that is not one of the others.
    Failed,
    /// The command was used wrongly.
    Usage,
    /// The server does not have what was requested.
    NotFound,
    /// The API key is missing, unknown or lacks a scope.
    NotAllowed,
    /// No response, a temporary failure, or a response that is not from a Dossier server.
    Unreachable,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::NotAllowed => 4,
            Self::Unreachable => 5,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "notFound",
            Self::NotAllowed => "notAllowed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The failure of a client command. Its texts are single lines without control characters, whatever
/// the server or a file name contained, so they are safe to print to a terminal.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// The kind, which sets the exit code.
    pub kind: Kind,
    /// What happened and why.
    pub what: String,
    /// What to do next, such as a command to run; empty if there is nothing.
    pub next: String,
    /// Whether a retry may succeed.
    pub is_retryable: bool,
    /// The server's error code, such as `QUOTA_EXCEEDED`.
    pub code: Option<String>,
    /// The server's `Retry-After`, in seconds.
    pub retry_after_seconds: Option<u64>,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let (what, next) = (escape_hidden(&what.into()), String::new());
        Self { kind, what, next, is_retryable: false, code: None, retry_after_seconds: None }
    }

    /// A failure of kind [`Kind::Failed`].
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what)
    }

    /// Sets what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = escape_hidden(&next.into());
        self
    }

    /// Prefixes the message with its subject, such as a file.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.what = format!("{}: {}", escape_hidden(subject), self.what);
        self
    }

    /// The failure as JSON, for `--json`.
    pub fn as_json(&self) -> Value {
        json!({
            "kind": self.kind.name(), "exitCode": self.kind.code(), "message": self.what,
            "next": self.next, "code": self.code,
        })
    }

    /// The failure to use a local file.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("{}: {}", path.display(), plain(error)))
    }

    /// The failure to get a response.
    pub(super) fn from_transport(error: &reqwest::Error, server: &str) -> Self {
        let retryable = Self { is_retryable: true, ..Self::new(Kind::Unreachable, "") };
        if is_certificate(error) {
            let what = format!("the certificate of {server} is not trusted");
            return Self::new(Kind::Unreachable, what).next(
                "use --ca FILE to trust its CA; for a generated certificate that is the server's \
                 dossier-data/tls/ca.pem",
            );
        }
        if error.is_connect() {
            let what = format!("cannot connect to {server}: {}", innermost(error));
            let next = "check the URL and that the server is running: dossier status --server URL";
            return Self { what: escape_hidden(&what), ..retryable }.next(next);
        }
        let what = format!("the connection to {server} broke: {}", innermost(error));
        Self { what: escape_hidden(&what), ..retryable }.next("run the same command again")
    }

    /// The failure that an error response reports.
    pub(super) fn from_response(
        status: StatusCode,
        retry_after_seconds: Option<u64>,
        body: &[u8],
        server: &str,
    ) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = &body["details"]["applicationError"];
        let code = error["code"].as_str().map(str::to_owned);
        let message = body["message"].as_str().filter(|text| !text.is_empty());
        let failure = match (status.as_u16(), code.as_deref()) {
            (401, _) => Self::new(Kind::NotAllowed, format!("{server} rejects this API key")).next(
                "run dossier login --server URL; to create a key on the server: dossier key create",
            ),
            (403, Some("QUOTA_EXCEEDED")) => quota(&error["data"]),
            (403, Some("PERMISSION_DENIED")) => denied(message.unwrap_or_default()),
            (404, _) => Self::new(Kind::NotFound, message.unwrap_or("not found"))
                .next("to list contacts: dossier ls; to list files: dossier ls CONTACT"),
            (413, _) => too_large(&error["data"]),
            (507, _) => Self::failed(format!("the disk of {server} is full"))
                .next("free space there, then run the same command again"),
            (408 | 423 | 429 | 502..=504, _) => {
                let what = format!("{server} is temporarily unavailable ({status})");
                Self::new(Kind::Unreachable, message.map_or(what, str::to_owned))
                    .next("run the same command again later; see also dossier status")
            }
            _ => match message {
                Some(message) => Self::failed(message),
                None => Self::failed(format!("{server} returned {status}"))
                    .next("check the server's log"),
            },
        };
        let is_retryable = matches!(status.as_u16(), 408 | 423 | 429 | 502..=504);
        Self { is_retryable, code, retry_after_seconds, ..failure }
    }
}

fn denied(message: &str) -> Failure {
    let failure = Failure::new(Kind::NotAllowed, message);
    if message.contains("wix-site-id header is missing") {
        let failure = Failure::new(Kind::NotAllowed, "the server has several sites");
        return failure.next("choose the key's site: --site ID, or dossier login --site ID");
    }
    if message.contains("scope") {
        return failure
            .next("to create a key on the server: dossier key create --scope VIEW,MODIFY");
    }
    failure.next("to see the key's scopes: dossier status")
}

fn quota(data: &Value) -> Failure {
    let text = |name: &str| match &data[name] {
        Value::String(text) => text.to_ascii_lowercase(),
        other => other.to_string(),
    };
    let what = format!(
        "the {}'s quota would be exceeded: {} of {} {} are in use; nothing was stored",
        text("scope"),
        text("use"),
        text("limit"),
        text("unit")
    );
    Failure::failed(what)
        .next("delete files with dossier rm, or raise the quota on the server: dossier site set")
}

fn too_large(data: &Value) -> Failure {
    let limit = &data["limitBytes"];
    Failure::failed(format!("larger than the {limit} bytes that the server accepts"))
        .next("to raise the limit on the server, set upload_max_bytes")
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // `source` of an I/O error skips the wrapped error itself, so look at that first.
        let wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    false
}

/// The most specific cause: `Connection refused`, not `error sending request`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    plain(cause)
}

/// Strips the OS error number, which means nothing to most people.
fn plain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
