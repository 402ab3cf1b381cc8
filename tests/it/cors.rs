//! Pages on other hosts (contract §15).

use reqwest::Method;
use uuid::Uuid;

use crate::support::{Answer, PNG, TestApp};

const PAGE: &str = "https://pages.example";

async fn preflight(app: &TestApp, path: &str, method: &str, origin: &str) -> Answer {
    let request = app
        .anonymous(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization,wix-site-id,content-type");
    Answer::of(request).await
}

fn listed(answer: &Answer, header: &str) -> Vec<String> {
    answer.header(header).split(',').map(|name| name.trim().to_ascii_lowercase()).collect()
}

fn assert_no_credentials(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    assert_eq!(answer.header("set-cookie"), "");
}

#[tokio::test]
async fn preflights_of_every_kind_of_path_are_allowed_without_a_key() {
    let app = TestApp::start().await;
    let id = Uuid::new_v4();
    for (path, method) in [
        (format!("/contacts/v4/attachments/{id}"), "GET"),
        (format!("/_api/contacts/v4/attachments/{id}"), "GET"),
        (format!("/contacts/v4/attachments/{id}/{id}"), "DELETE"),
        (format!("/contacts/v4/attachments/{id}/upload-url"), "POST"),
        ("/upload/token".to_owned(), "PUT"),
        ("/media/a_b~mv2.png".to_owned(), "GET"),
        ("/media/a_b~mv2.png/preview".to_owned(), "HEAD"),
        ("/ugd/a_b.pdf".to_owned(), "GET"),
    ] {
        let answer = preflight(&app, &path, method, PAGE).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        let methods = listed(&answer, "access-control-allow-methods");
        for method in ["get", "post", "put", "patch", "head", "delete", "options"] {
            assert!(methods.contains(&method.to_owned()), "{path}: {method} in {methods:?}");
        }
        let headers = listed(&answer, "access-control-allow-headers");
        for header in [
            "authorization",
            "content-type",
            "wix-site-id",
            "wix-account-id",
            "x-wix-bi-gateway",
            "x-wix-consistent",
            "tus-resumable",
            "upload-length",
            "upload-offset",
            "upload-metadata",
            "upload-defer-length",
            "x-http-method-override",
        ] {
            assert!(headers.contains(&header.to_owned()), "{path}: {header} in {headers:?}");
        }
        assert_no_credentials(&answer);
    }
}

#[tokio::test]
async fn pages_may_read_the_headers_that_they_need() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    let put = app.client().put(&url).header("origin", PAGE).body(PNG.to_vec());
    let put = Answer::of(put).await;
    put.ok();
    let path = format!("/contacts/v4/attachments/{contact}");
    let list = Answer::of(app.request(Method::GET, &path).header("origin", PAGE)).await;
    let link = list.ok()["attachments"][0]["image"]["url"].as_str().unwrap().to_owned();
    let media = Answer::of(app.client().get(link).header("origin", PAGE)).await;
    let refused = Answer::of(app.anonymous(Method::GET, &path).header("origin", PAGE)).await;
    let unknown = Answer::of(app.anonymous(Method::GET, "/nowhere").header("origin", PAGE)).await;
    for answer in [put, list, media, refused, unknown] {
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{answer:?}");
        let exposed = listed(&answer, "access-control-expose-headers");
        for header in [
            "x-wix-request-id",
            "x-wix-consistent",
            "location",
            "upload-offset",
            "upload-length",
            "tus-resumable",
            "tus-version",
            "tus-extension",
        ] {
            assert!(exposed.contains(&header.to_owned()), "{header} in {exposed:?}");
        }
        assert_no_credentials(&answer);
    }
}

#[tokio::test]
async fn only_the_listed_origins_are_allowed_when_there_is_a_list() {
    let settings = [("cors_origins", "https://pages.example, http://localhost:3000")];
    let app = TestApp::start_with(&settings).await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    for origin in [PAGE, "http://localhost:3000"] {
        let answer = preflight(&app, &path, "GET", origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(listed(&answer, "vary").contains(&"origin".to_owned()), "{answer:?}");
        assert_no_credentials(&answer);
    }
    for origin in [
        "https://other.example",
        "https://pages.example.other.example",
        "http://pages.example",
        "https://pages.example:8443",
        "null",
    ] {
        let answer = preflight(&app, &path, "GET", origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let request = app.request(Method::GET, &path).header("origin", origin);
        assert_eq!(Answer::of(request).await.header("access-control-allow-origin"), "", "{origin}");
    }
}

#[tokio::test]
async fn the_null_origin_gets_no_more_than_any_other() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    let answer = preflight(&app, &path, "GET", "null").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_no_credentials(&answer);
    let request = app.anonymous(Method::GET, &path).header("origin", "null");
    assert_eq!(Answer::of(request).await.refused(), (401, "UNAUTHENTICATED".to_owned()));
}
