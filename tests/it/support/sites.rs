//! Further sites and keys, created as another process would: in the database, behind the running
//! server's back.

use dossier::actions::sites::{create_key, create_site};
use dossier::domain::ids::SiteId;
use dossier::domain::scope::Scopes;
use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use uuid::Uuid;

use super::{Response, START_MS, TestApp};

/// A site and one of its keys.
pub(crate) struct Member {
    pub(crate) site: Uuid,
    pub(crate) key: String,
    pub(crate) key_id: Uuid,
}

impl TestApp {
    /// Creates another site with a key that has every scope.
    pub(crate) async fn other_site(&self) -> Member {
        self.site_with_link_life(None).await
    }

    /// Creates another site with its own link lifetime.
    pub(crate) async fn site_with_link_life(&self, seconds: Option<u32>) -> Member {
        let db = &self.app().db;
        let created = create_site(db, START_MS, "other", seconds, Some("other")).await;
        let (site, key) = created.unwrap();
        self.app().registry.refresh(db).await.unwrap();
        let key = key.unwrap();
        Member { site: site.id.0, key: key.secret, key_id: key.id }
    }

    /// Creates another key of the first site without notifying the server.
    pub(crate) async fn other_key(&self, scopes: &str) -> Member {
        let scopes = Scopes::parse(scopes).unwrap();
        let site = SiteId(self.site);
        let key = create_key(&self.app().db, START_MS, site, "test", scopes).await.unwrap();
        Member { site: self.site, key: key.secret, key_id: key.id }
    }

    /// A request with a key and its site.
    pub(crate) fn request_as(&self, member: &Member, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path)
            .header("authorization", &member.key)
            .header("wix-site-id", member.site.to_string())
    }

    /// Uploads a small CSV file with a key and returns the attachment's id.
    pub(crate) async fn upload_as(&self, member: &Member, contact: Uuid, name: &str) -> String {
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        let body = json!({ "fileName": name, "mimeType": "text/csv" });
        let response =
            Response::to(self.request_as(member, Method::POST, &path).json(&body)).await.ok();
        self.put(response["uploadUrl"].as_str().unwrap(), b"a,b\n1,2\n").await.ok();
        let list = Response::to(self.request_as(
            member,
            Method::GET,
            &format!("/contacts/v4/attachments/{contact}"),
        ));
        let list = list.await.ok();
        let found = list["attachments"].as_array().unwrap();
        let found = found.iter().find(|attachment| attachment["fileName"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }

    /// The first site and key as a [`Member`].
    pub(crate) fn first(&self) -> Member {
        Member { site: self.site, key: self.key.clone(), key_id: Uuid::nil() }
    }

    /// Uploads small CSV files one after another.
    pub(crate) async fn upload_csvs(&self, contact: Uuid, names: impl IntoIterator<Item = String>) {
        for name in names {
            let bytes = format!("name\n{name}\n");
            self.upload(contact, &name, "text/csv", bytes.as_bytes()).await.ok();
        }
    }

    /// Uploads many small CSV files concurrently, in no particular order.
    pub(crate) async fn upload_many_csvs(&self, contact: Uuid, count: usize) {
        const CONCURRENCY: usize = 16;
        let uploads = (0..count).map(|number| async move {
            let (name, bytes) = (format!("{number}.csv"), format!("name\n{number}\n"));
            self.upload(contact, &name, "text/csv", bytes.as_bytes()).await.ok();
        });
        futures_util::stream::iter(uploads)
            .buffer_unordered(CONCURRENCY)
            .for_each(async |()| ())
            .await;
    }

    /// One field of all attachments of a contact, in list order.
    pub(crate) async fn list_all(&self, contact: Uuid, field: &str) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let path = format!(
                "/contacts/v4/attachments/{contact}?paging.limit=100&paging.offset={}",
                found.len()
            );
            let page = self.get(&path).await.ok();
            let items = page["attachments"].as_array().unwrap();
            if items.is_empty() {
                return found;
            }
            found.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
        }
    }
}
