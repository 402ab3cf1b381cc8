//! A client for resumable uploads that sends exactly what a test specifies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use uuid::Uuid;

use super::{Response, TestApp};

/// The media type of every PATCH body.
pub(crate) const PIECE: (&str, &str) = ("content-type", "application/offset+octet-stream");

/// A CSV file of this size whose bytes differ at each position.
pub(crate) fn csv(size: usize) -> Vec<u8> {
    let lines = (0..=size / 8).map(|number| format!("{number:07}\n"));
    let mut file = lines.collect::<String>().into_bytes();
    file.truncate(size);
    file
}

/// The `Upload-Metadata` header that carries a token.
pub(crate) fn metadata(token: &str) -> String {
    format!("filename {},token {}", STANDARD.encode("x.csv"), STANDARD.encode(token))
}

/// The token at the end of an upload URL.
pub(crate) fn token(upload_url: &str) -> &str {
    upload_url.rsplit('/').next().unwrap()
}

impl Response {
    /// The value of `Upload-Offset`.
    pub(crate) fn offset(&self) -> u64 {
        self.header("upload-offset").parse().unwrap()
    }
}

impl TestApp {
    /// A tus request to any URL.
    pub(crate) async fn tus(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut request = self.client().request(method, url).header("tus-resumable", "1.0.0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Response::to(request.body(body.to_vec())).await
    }

    /// Creates an upload at the shared endpoint.
    pub(crate) async fn tus_create(&self, upload_url: &str, length: usize) -> Response {
        let (length, metadata) = (length.to_string(), metadata(token(upload_url)));
        let headers = [("upload-length", &*length), ("upload-metadata", &*metadata)];
        self.tus(Method::POST, &format!("{}/upload/tus", self.base), &headers, b"").await
    }

    /// Creates an upload of a CSV file and returns its upload URL and its own URL.
    pub(crate) async fn tus_begin(&self, contact: Uuid, length: usize) -> (String, String) {
        let upload_url = self.upload_url(contact, "table.csv", "text/csv").await;
        let created = self.tus_create(&upload_url, length).await;
        assert_eq!(created.status, 201, "{created:?}");
        (upload_url, created.header("location").to_owned())
    }

    /// Sends bytes at an offset.
    pub(crate) async fn tus_patch(&self, location: &str, offset: usize, bytes: &[u8]) -> Response {
        let offset = offset.to_string();
        self.tus(Method::PATCH, location, &[("upload-offset", &offset), PIECE], bytes).await
    }

    /// Requests the current offset.
    pub(crate) async fn tus_head(&self, location: &str) -> Response {
        self.tus(Method::HEAD, location, &[], b"").await
    }

    /// The last step of the vendor's documented code.
    pub(crate) async fn tus_finish(&self, upload_url: &str) -> Response {
        let url = format!("{}/upload/tus/{}?filename=x.csv", self.base, token(upload_url));
        self.put(&url, b"{}").await
    }
}
