//! Requests from pages on other origins (contract §15).

use reqwest::Method;
use uuid::Uuid;

use crate::support::{PNG, Response, TestApp};

const PAGE: &str = "https://pages.example";

async fn preflight(app: &TestApp, path: &str, method: &str, origin: &str) -> Response {
    let request = app
        .anonymous(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization,wix-site-id,content-type");
    Response::to(request).await
}

fn listed(response: &Response, header: &str) -> Vec<String> {
    response.header(header).split(',').map(|name| name.trim().to_ascii_lowercase()).collect()
}

fn assert_no_credentials(response: &Response) {
    assert_eq!(response.header("access-control-allow-credentials"), "");
    assert_eq!(response.header("set-cookie"), "");
}

#[tokio::test]
async fn preflights_for_every_kind_of_path_need_no_key() {
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
        let response = preflight(&app, &path, method, PAGE).await;
        assert_eq!((response.status.as_u16(), response.body.len()), (200, 0), "{path}");
        assert_eq!(response.header("access-control-allow-origin"), "*", "{path}");
        let methods = listed(&response, "access-control-allow-methods");
        for method in ["get", "post", "put", "patch", "head", "delete", "options"] {
            assert!(methods.contains(&method.to_owned()), "{path}: {method} in {methods:?}");
        }
        let headers = listed(&response, "access-control-allow-headers");
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
        assert_no_credentials(&response);
    }
}

#[tokio::test]
async fn pages_may_read_the_headers_that_they_need() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    let put = app.client().put(&url).header("origin", PAGE).body(PNG.to_vec());
    let put = Response::to(put).await;
    put.ok();
    let path = format!("/contacts/v4/attachments/{contact}");
    let list = Response::to(app.request(Method::GET, &path).header("origin", PAGE)).await;
    let link = list.ok()["attachments"][0]["image"]["url"].as_str().unwrap().to_owned();
    let media = Response::to(app.client().get(link).header("origin", PAGE)).await;
    let rejected = Response::to(app.anonymous(Method::GET, &path).header("origin", PAGE)).await;
    let unknown = Response::to(app.anonymous(Method::GET, "/nowhere").header("origin", PAGE)).await;
    for response in [put, list, media, rejected, unknown] {
        assert_eq!(response.header("access-control-allow-origin"), "*", "{response:?}");
        let exposed = listed(&response, "access-control-expose-headers");
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
        assert_no_credentials(&response);
    }
}

#[tokio::test]
async fn with_an_origin_list_only_its_origins_are_allowed() {
    let settings = [("cors_origins", "https://pages.example, http://localhost:3000")];
    let app = TestApp::start_with(&settings).await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    for origin in [PAGE, "http://localhost:3000"] {
        let response = preflight(&app, &path, "GET", origin).await;
        assert_eq!(response.header("access-control-allow-origin"), origin);
        assert!(listed(&response, "vary").contains(&"origin".to_owned()), "{response:?}");
        assert_no_credentials(&response);
    }
    for origin in [
        "https://other.example",
        "https://pages.example.other.example",
        "http://pages.example",
        "https://pages.example:8443",
        "null",
    ] {
        let response = preflight(&app, &path, "GET", origin).await;
        assert_eq!(response.header("access-control-allow-origin"), "", "{origin}");
        let request = app.request(Method::GET, &path).header("origin", origin);
        assert_eq!(
            Response::to(request).await.header("access-control-allow-origin"),
            "",
            "{origin}"
        );
    }
}

#[tokio::test]
async fn the_null_origin_gets_no_special_treatment() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    let response = preflight(&app, &path, "GET", "null").await;
    assert_eq!(response.header("access-control-allow-origin"), "*");
    assert_no_credentials(&response);
    let request = app.anonymous(Method::GET, &path).header("origin", "null");
    assert_eq!(Response::to(request).await.rejection(), (401, "UNAUTHENTICATED".to_owned()));
}
