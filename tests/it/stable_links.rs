//! Permanent URLs that redirect to a fresh link.

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::PDF;
use crate::support::{PNG, Response, TestApp};

async fn start() -> (TestApp, String, String) {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    app.upload(contact, "a.pdf", "application/pdf", PDF).await.ok();
    let ids = app.list_all(contact, "id").await;
    let path = |id: &str| format!("/dossier/v1/media/{}/{id}", app.site);
    let (picture, document) = (path(&ids[0]), path(&ids[1]));
    (app, picture, document)
}

#[tokio::test]
async fn a_stable_link_redirects_to_a_fresh_one() {
    let (app, picture, document) = start().await;
    for (path, expected) in [(&picture, PNG), (&document, PDF)] {
        for method in [Method::GET, Method::HEAD] {
            let response = Response::to(app.request(method, path)).await;
            assert_eq!(response.status, 302);
            assert_eq!(response.header("cache-control"), "no-store");
            assert_eq!(response.header("referrer-policy"), "no-referrer");
            assert!(response.body.is_empty() && response.headers.get("set-cookie").is_none());
            assert_eq!(app.open(response.header("location")).await.body, expected);
        }
    }
    let first = app.get(&picture).await.header("location").to_owned();
    app.advance_seconds(7_200);
    assert_eq!(app.open(&first).await.status, 403);
    let fresh = app.get(&picture).await.header("location").to_owned();
    assert_eq!(app.open(&fresh).await.status, 200);
}

#[tokio::test]
async fn previews_have_stable_links_too() {
    let (app, picture, document) = start().await;
    for query in ["?preview", "?preview=1", "?part=preview"] {
        let response = app.get(&format!("{picture}{query}")).await;
        assert_eq!(response.status, 302);
        assert!(response.header("location").contains("/preview?token="));
        assert_eq!(app.open(response.header("location")).await.status, 200);
        assert_eq!(app.get(&format!("{document}{query}")).await.status, 404);
    }
    assert_eq!(app.get(&format!("{picture}?part=original")).await.status, 302);
    let wrong = app.get(&format!("{picture}?part=all")).await;
    assert_eq!(wrong.violations(), [("part".to_owned(), "OTHER".to_owned())]);
}

#[tokio::test]
async fn s16_callers_without_access_learn_nothing() {
    let (app, picture, _) = start().await;
    let other = app.other_site().await;
    let viewer = app.other_key("VIEW").await;
    let modifier = app.other_key("MODIFY").await;
    let id = picture.rsplit_once('/').unwrap().1.to_owned();
    let foreign = format!("/dossier/v1/media/{}/{id}", other.site);
    let absent = format!("/dossier/v1/media/{}/{}", app.site, Uuid::new_v4());
    let not_found = (404, "NOT_FOUND".to_owned());
    let get_as = async |who: &crate::support::Member, path: &str| {
        let request = app.anonymous(Method::GET, path).header("authorization", &who.key);
        Response::to(request).await
    };
    // The path names the site, so no header is needed.
    assert_eq!(get_as(&viewer, &picture).await.status, 302);
    assert_eq!(get_as(&other, &picture).await.rejection(), not_found);
    assert_eq!(get_as(&other, &foreign).await.rejection(), not_found);
    assert_eq!(get_as(&viewer, &absent).await.rejection(), not_found);
    assert_eq!(
        get_as(&modifier, &picture).await.rejection(),
        (403, "PERMISSION_DENIED".to_owned())
    );
    let nobody = Response::to(app.anonymous(Method::GET, &picture)).await;
    assert_eq!(nobody.rejection(), (401, "UNAUTHENTICATED".to_owned()));
    let wrong = get_as(&viewer, "/dossier/v1/media/undefined/undefined").await;
    assert_eq!(wrong.violations().len(), 2);
}
