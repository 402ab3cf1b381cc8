//! Explains to the operator why a database's or store's TLS certificate was rejected.

const UNTRUSTED: &str = "its certificate was issued by an authority that is not trusted here: name the \
                         right one (sslrootcert in database_url, ca in blobs)";

/// Parts of rustls error texts, each with an explanation and a remedy.
const KNOWN: [(&str, &str); 5] = [
    ("UnknownIssuer", UNTRUSTED),
    // The authority has the name of a trusted one, but another key.
    ("BadSignature", UNTRUSTED),
    (
        "not valid for name",
        "its certificate is for another host name: connect by the name in the certificate, or \
         give it a certificate for this name",
    ),
    (
        "certificate expired",
        "its certificate has expired, or the clock of this machine is wrong: renew the certificate, \
         or set the clock",
    ),
    (
        "certificate not valid yet",
        "its certificate is not valid yet, or the clock of this machine is wrong: set the clock",
    ),
];

/// The explanation for an error's text, if the text names a known certificate problem.
pub fn explain(text: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(part, _)| text.contains(part)).map(|(_, explanation)| *explanation)
}
