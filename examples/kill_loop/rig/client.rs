//! The clients' API calls.

use anyhow::{Context as _, bail};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::files::{File, sha256};
use super::log::{Entry, Transfer};

/// A server's address with the credentials for it.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
    site: String,
}

/// A response that was read to its end.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) location: Option<String>,
    pub(crate) upload_offset: Option<u64>,
}

/// An attachment as listed.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) contact: usize,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) mime_type: String,
    pub(crate) media_id: String,
    pub(crate) link: String,
    pub(crate) preview: Option<String>,
}

impl Response {
    /// The JSON of a 200 response.
    pub(crate) fn ok(&self) -> anyhow::Result<Value> {
        if self.status != 200 {
            bail!("answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Client {
    pub(crate) fn new(base: &str, key: &str, site: &str) -> anyhow::Result<Self> {
        let (base, key, site) = (base.to_owned(), key.to_owned(), site.to_owned());
        Ok(Self { http: reqwest::Client::builder().no_proxy().build()?, base, key, site })
    }

    async fn send(request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let upload_offset = header("upload-offset").and_then(|offset| offset.parse().ok());
        let location = header("location");
        Ok(Response { status, location, upload_offset, body: response.bytes().await?.to_vec() })
    }

    fn api(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}/contacts/v4/attachments/{path}", self.base))
            .header("authorization", &self.key)
            .header("wix-site-id", &self.site)
    }

    /// Requests a link, or anything else that needs no key.
    pub(crate) async fn open(&self, path: &str) -> anyhow::Result<Response> {
        Self::send(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Requests an upload URL and returns its path.
    pub(crate) async fn upload_path(&self, contact: usize, file: &File) -> anyhow::Result<String> {
        let body = json!({ "fileName": file.name, "mimeType": file.mime_type() });
        let path = format!("{}/upload-url", contact_id(contact));
        let response = Self::send(self.api(Method::POST, &path).json(&body)).await?.ok()?;
        path_of(&response["uploadUrl"])
    }

    /// Sends a file to its upload URL in one request.
    pub(crate) async fn upload(&self, entry: &Entry, bytes: Vec<u8>) -> anyhow::Result<Response> {
        let url = format!("{}{}", self.base, entry.upload_path);
        let request = if entry.transfer == Transfer::Form {
            let part = multipart::Part::bytes(bytes)
                .file_name(entry.file.name.clone())
                .mime_str(entry.file.mime_type())?;
            self.http.post(url).multipart(multipart::Form::new().part("file", part))
        } else {
            self.http.put(url).header("content-type", entry.file.mime_type()).body(bytes)
        };
        Self::send(request).await
    }

    /// A tus request.
    pub(crate) async fn tus(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Response> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("tus-resumable", "1.0.0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::send(request.body(body)).await
    }

    pub(crate) async fn put_json(
        &self,
        path: &str,
        body: &'static str,
    ) -> anyhow::Result<Response> {
        let url = format!("{}{path}", self.base);
        Self::send(self.http.put(url).header("content-type", "application/json").body(body)).await
    }

    pub(crate) async fn get(&self, contact: usize, id: &str) -> anyhow::Result<Response> {
        Self::send(self.api(Method::GET, &format!("{}/{id}", contact_id(contact)))).await
    }

    pub(crate) async fn delete(&self, contact: usize, id: &str) -> anyhow::Result<Response> {
        Self::send(self.api(Method::DELETE, &format!("{}/{id}", contact_id(contact)))).await
    }

    /// One page and the contact's total.
    pub(crate) async fn page(
        &self,
        contact: usize,
        limit: usize,
        offset: usize,
    ) -> anyhow::Result<(Vec<Listed>, usize)> {
        let path = format!("{}?paging.limit={limit}&paging.offset={offset}", contact_id(contact));
        let response = Self::send(self.api(Method::GET, &path)).await?.ok()?;
        let listed = response["attachments"].as_array().context("no attachments in a list")?;
        let listed: Vec<_> =
            listed.iter().map(|one| Listed::read(contact, one)).collect::<Result<_, _>>()?;
        let metadata = &response["metadata"];
        if metadata["count"] != listed.len() || metadata["offset"] != offset {
            bail!("a list of {} items at {offset} has the metadata {metadata}", listed.len());
        }
        let total = metadata["total"].as_u64().context("no total in a list")? as usize;
        Ok((listed, total))
    }

    /// Everything that a contact has, page by page.
    pub(crate) async fn list(&self, contact: usize) -> anyhow::Result<Vec<Listed>> {
        let mut all = Vec::new();
        loop {
            let (page, total) = self.page(contact, 100, all.len()).await?;
            let was_last = page.len() < 100;
            all.extend(page);
            if was_last {
                if all.len() != total {
                    bail!("a list has {} items and the total {total}", all.len());
                }
                return Ok(all);
            }
        }
    }
}

impl Listed {
    pub(crate) fn read(contact: usize, one: &Value) -> anyhow::Result<Self> {
        let media = if one["image"].is_object() { &one["image"] } else { &one["document"] };
        let preview = &one["previewImage"]["url"];
        Ok(Self {
            contact,
            id: text(&one["id"])?,
            name: text(&one["fileName"])?,
            mime_type: text(&one["mimeType"])?,
            media_id: text(&media["id"])?,
            link: path_of(&media["url"])?,
            preview: if preview.is_null() { None } else { Some(path_of(preview)?) },
        })
    }
}

/// The file's id and link from an upload's response, if the rest is right.
pub(crate) fn descriptor(entry: &Entry, response: &Response) -> anyhow::Result<(String, String)> {
    let file = &response.ok()?["file"];
    if file["displayName"] != entry.file.name.as_str() || file["hash"] != entry.sha256.as_str() {
        bail!("an upload of {entry:?} returned {file}");
    }
    Ok((text(&file["id"])?, path_of(&file["url"])?))
}

/// The attachment's id, which is part of the file's.
pub(crate) fn attachment_id(media_id: &str) -> anyhow::Result<String> {
    let hex = media_id.split_once('_').and_then(|(_, rest)| rest.get(..32));
    let id = uuid::Uuid::try_parse(hex.unwrap_or_default());
    Ok(id.with_context(|| format!("no id in {media_id}"))?.to_string())
}

/// Whether the response has the bytes that were sent.
pub(crate) fn is_same(entry: &Entry, response: &Response) -> bool {
    response.status == 200 && sha256(&response.body) == entry.sha256
}

fn contact_id(contact: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x4000_8000_0000_0000_0000 | contact as u128)
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("not a string: {value}"))
}

/// A URL without its host, since the port changes with a restart.
pub(crate) fn path_of(url: &Value) -> anyhow::Result<String> {
    let url = text(url)?;
    let path = url.splitn(4, '/').nth(3).with_context(|| format!("no path in {url}"))?;
    Ok(format!("/{path}"))
}
