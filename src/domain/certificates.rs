//! What it means when the certificate of an engine is refused, in words for who runs the server.

const UNTRUSTED: &str = "its certificate was issued by an authority that is not trusted here: name the \
                         right one (sslrootcert in database_url, ca in blobs)";

/// What rustls says, and the same for people, with what to do.
const KNOWN: [(&str, &str); 5] = [
    ("UnknownIssuer", UNTRUSTED),
    // An authority that has the name of a trusted one, and another key.
    ("BadSignature", UNTRUSTED),
    (
        "not valid for name",
        "its certificate is for another name than the one it was called by: call it by that name, or \
         give it a certificate for this one",
    ),
    (
        "certificate expired",
        "its certificate has expired, or the clock of this machine is wrong: renew the one, or set \
         the other",
    ),
    (
        "certificate not valid yet",
        "its certificate is not valid yet, or the clock of this machine is wrong: set the clock",
    ),
];

/// The reason for which a certificate was refused, if an error's text names one.
pub fn refused(text: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(said, _)| text.contains(said)).map(|(_, words)| *words)
}
