//! Why a command of the client failed: what happened and why, what to do next, and the exit code.

use std::error::Error as _;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::domain::file_name::visible;

/// Shorthand for results of the client.
pub type Result<T> = std::result::Result<T, Failure>;

/// What kind of failure it is, for programs: each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything that is not one of the others.
    Failed,
    /// The command cannot be meant like this.
    Usage,
    /// The server does not have it.
    NotFound,
    /// No key, an unknown one, or one that may not.
    NotAllowed,
    /// No answer, or none that a server of ours gives.
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

/// Why something could not be done. Its text is one line without the characters that could change
/// a terminal, whatever the server or a file's name held.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// Of which kind.
    pub kind: Kind,
    /// What happened and why.
    pub what: String,
    /// What to type or do next; empty when there is nothing.
    pub next: String,
    /// The same may succeed later.
    pub passes: bool,
    /// The server's own code, such as `QUOTA_EXCEEDED`.
    pub code: Option<String>,
    /// The server asked for so much patience, in seconds.
    pub retry_after_seconds: Option<u64>,
}

impl Failure {
    /// One of a kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let (what, next) = (visible(&what.into()), String::new());
        Self { kind, what, next, passes: false, code: None, retry_after_seconds: None }
    }

    /// One without a kind of its own.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what)
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = visible(&next.into());
        self
    }

    /// The same, said of something such as a file.
    #[must_use]
    pub fn of(mut self, subject: &str) -> Self {
        self.what = format!("{}: {}", visible(subject), self.what);
        self
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        json!({
            "kind": self.kind.name(), "exitCode": self.kind.code(), "message": self.what,
            "next": self.next, "code": self.code,
        })
    }

    /// A file of this machine could not be used.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("{}: {}", path.display(), plain(error)))
    }

    /// No answer came.
    pub(super) fn no_answer(error: &reqwest::Error, server: &str) -> Self {
        let passes = Self { passes: true, ..Self::new(Kind::Unreachable, "") };
        if is_certificate(error) {
            let what =
                format!("the certificate of {server} is of an authority that is not known here");
            return Self::new(Kind::Unreachable, what).next(
                "--ca FILE names the authority: of a server with its own certificate it is \
                 dossier-data/tls/ca.pem",
            );
        }
        if error.is_connect() {
            let what = format!("{server} cannot be reached: {}", innermost(error));
            let next = "check the address and that the server runs: dossier status --server URL";
            return Self { what: visible(&what), ..passes }.next(next);
        }
        let what = format!("the exchange with {server} broke off: {}", innermost(error));
        Self { what: visible(&what), ..passes }.next("the same command again")
    }

    /// The server answered something else than was asked for.
    pub(super) fn answered(
        status: StatusCode,
        retry_after_seconds: Option<u64>,
        body: &[u8],
        server: &str,
    ) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = &body["details"]["applicationError"];
        let code = error["code"].as_str().map(str::to_owned);
        let told = body["message"].as_str().filter(|text| !text.is_empty());
        let failure = match (status.as_u16(), code.as_deref()) {
            (401, _) => Self::new(Kind::NotAllowed, format!("{server} does not know this API key"))
                .next(
                    "dossier login --server URL; on the server, `dossier key create` makes a key",
                ),
            (403, Some("QUOTA_EXCEEDED")) => quota(&error["data"]),
            (403, Some("PERMISSION_DENIED")) => denied(told.unwrap_or_default()),
            (404, _) => Self::new(Kind::NotFound, told.unwrap_or("there is nothing here"))
                .next("dossier ls shows the contacts, dossier ls CONTACT its files"),
            (413, _) => too_large(&error["data"]),
            (507, _) => Self::failed(format!("the disk of {server} is full"))
                .next("make room there, then the same command again"),
            (408 | 423 | 429 | 502..=504, _) => {
                let what = format!("{server} cannot do it now ({status})");
                Self::new(Kind::Unreachable, told.map_or(what, str::to_owned))
                    .next("the same command again in a while; dossier status says more")
            }
            _ => match told {
                Some(told) => Self::failed(told),
                None => Self::failed(format!("{server} answered {status}"))
                    .next("look into the server's log"),
            },
        };
        let passes = matches!(status.as_u16(), 408 | 423 | 429 | 502..=504);
        Self { passes, code, retry_after_seconds, ..failure }
    }
}

fn denied(told: &str) -> Failure {
    let failure = Failure::new(Kind::NotAllowed, told);
    if told.contains("wix-site-id header is missing") {
        let failure = Failure::new(Kind::NotAllowed, "the server has several sites");
        return failure.next("name the key's one: --site ID, or dossier login --site ID");
    }
    if told.contains("scope") {
        return failure.next("on the server: dossier key create --scope VIEW,MODIFY");
    }
    failure.next("dossier status says what the key may do")
}

fn quota(data: &Value) -> Failure {
    let text = |name: &str| match &data[name] {
        Value::String(text) => text.to_ascii_lowercase(),
        other => other.to_string(),
    };
    let what = format!(
        "the {}'s quota is full: {} of {} {} are in use, and this would be more; nothing was kept",
        text("scope"),
        text("use"),
        text("limit"),
        text("unit")
    );
    Failure::failed(what).next("dossier rm makes room; on the server: dossier site set")
}

fn too_large(data: &Value) -> Failure {
    let limit = &data["limitBytes"];
    Failure::failed(format!("larger than the {limit} bytes that the server takes"))
        .next("on the server: the setting upload_max_bytes")
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // The source of an I/O error is that of what it wraps, so what it wraps is asked for.
        let wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    false
}

/// The cause that says most: `Connection refused`, not `error sending request`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    plain(cause)
}

/// The system's number says nothing to people.
fn plain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
