//! What a list returns: which files, in which order, for which request.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{PNG, Response, TestApp};

fn names(list: &Value) -> Vec<String> {
    let attachments = list["attachments"].as_array().unwrap();
    attachments.iter().map(|a| a["fileName"].as_str().unwrap().to_owned()).collect()
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number:03}.csv")).collect()
}

#[tokio::test]
async fn a_contact_without_attachments_has_an_empty_list_with_full_metadata() {
    let app = TestApp::start().await;
    let response = app.list(Uuid::new_v4()).await.ok();
    assert_eq!(
        response,
        json!({
            "attachments": [],
            "metadata": { "count": 0, "offset": 0, "total": 0, "tooManyToCount": false },
        })
    );
}

#[tokio::test]
async fn an_uploaded_file_is_in_the_next_list() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let response = app.list(contact).await.ok();
    assert_eq!(response["metadata"]["total"], 1);
    assert_eq!(response["attachments"][0]["fileName"], "dot.png");
}

#[tokio::test]
async fn pages_follow_limit_and_offset() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..5)).await;
    for (query, expected, offset) in [
        ("", 0..5, 0),
        ("?paging.limit=2", 0..2, 0),
        ("?paging.limit=2&paging.offset=2", 2..4, 2),
        ("?paging.limit=2&paging.offset=4", 4..5, 4),
        ("?paging.offset=3", 3..5, 3),
        ("?paging.limit=100", 0..5, 0),
        ("?paging.limit=0", 0..0, 0),
        ("?paging.limit=0&paging.offset=1", 0..0, 1),
        ("?paging.offset=5", 0..0, 5),
        ("?paging.offset=2147483647", 0..0, 2_147_483_647),
    ] {
        let list = app.get(&format!("/contacts/v4/attachments/{contact}{query}")).await.ok();
        let count = expected.len();
        assert_eq!(names(&list), numbered(expected), "{query}");
        assert_eq!(
            list["metadata"],
            json!({ "count": count, "offset": offset, "total": 5, "tooManyToCount": false }),
            "{query}"
        );
    }
}

#[tokio::test]
async fn paging_returns_every_attachment_once_and_100_per_page_by_default() {
    const FILES: usize = 220;
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..FILES)).await;
    let first = app.list(contact).await.ok();
    assert_eq!(names(&first), numbered(0..100));
    for limit in [7, 100] {
        let mut walked = Vec::new();
        while walked.len() < FILES {
            let offset = walked.len();
            let path = format!(
                "/contacts/v4/attachments/{contact}?paging.limit={limit}&paging.offset={offset}"
            );
            let list = app.get(&path).await.ok();
            assert_eq!(list["metadata"]["total"], FILES);
            let page = names(&list);
            assert!(!page.is_empty(), "nothing at offset {offset} of {FILES}");
            walked.extend(page);
        }
        assert_eq!(walked, numbered(0..FILES), "limit {limit}");
    }
}

#[tokio::test]
async fn files_uploaded_between_pages_shift_nothing() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..4)).await;
    let mut walked = Vec::new();
    for (page, newcomer) in (0..4).zip(4..) {
        let offset = page * 2;
        let path =
            format!("/contacts/v4/attachments/{contact}?paging.limit=2&paging.offset={offset}");
        walked.extend(names(&app.get(&path).await.ok()));
        app.upload_csvs(contact, numbered(newcomer..newcomer + 1)).await;
    }
    assert_eq!(walked, numbered(0..7));
}

#[tokio::test]
async fn offsets_are_recounted_after_a_change() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, (0..6).map(|number| format!("{number}.csv"))).await;
    let page = |offset: u32| {
        format!("/contacts/v4/attachments/{contact}?paging.limit=2&paging.offset={offset}")
    };
    for offset in [0, 2] {
        app.get(&page(offset)).await.ok();
    }
    let first = app.list_all(contact, "id").await.swap_remove(0);
    app.delete(&format!("/contacts/v4/attachments/{contact}/{first}")).await.ok();
    for (offset, expected) in [(4, &["5.csv"][..]), (2, &["3.csv", "4.csv"])] {
        let list = app.get(&page(offset)).await.ok();
        assert_eq!(
            (names(&list).as_slice(), &list["metadata"]["total"]),
            (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], &json!(5))
        );
    }
}

#[tokio::test]
async fn uploads_stay_in_order_even_when_the_clock_goes_back() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..2)).await;
    app.advance_seconds(-3_600);
    app.upload_csvs(contact, numbered(2..3)).await;
    app.advance_seconds(7_200);
    app.upload_csvs(contact, numbered(3..4)).await;
    assert_eq!(names(&app.list(contact).await.ok()), numbered(0..4));
}

#[tokio::test]
async fn the_total_excludes_deleted_attachments() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..3)).await;
    let list = app.list(contact).await.ok();
    let id = list["attachments"][1]["id"].as_str().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let list = app.get(&format!("/contacts/v4/attachments/{contact}?paging.limit=1")).await.ok();
    assert_eq!(
        list["metadata"],
        json!({ "count": 1, "offset": 0, "total": 2, "tooManyToCount": false })
    );
    assert_eq!(names(&app.list(contact).await.ok()), ["000.csv", "002.csv"]);
}

#[tokio::test]
async fn two_uploads_with_one_name_are_two_attachments() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, ["a.csv".to_owned(), "a.csv".to_owned()]).await;
    let list = app.list(contact).await.ok();
    assert_eq!(names(&list), ["a.csv", "a.csv"]);
    assert_ne!(list["attachments"][0]["id"], list["attachments"][1]["id"]);
}

#[tokio::test]
async fn every_form_of_the_request_returns_the_same_page() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..3)).await;
    let expected = app
        .get(&format!("/contacts/v4/attachments/{contact}?paging.limit=1&paging.offset=1"))
        .await;
    expected.ok();
    let page = "paging.limit=1&paging.offset=1";
    let upper = contact.to_string().to_uppercase();
    let whole = json!({ "contactId": contact.to_string(), "paging": { "limit": 1, "offset": 1 } });
    let no_paging = json!({ "contactId": contact.to_string() });
    for prefix in ["/contacts/v4/attachments", "/_api/contacts/v4/attachments"] {
        for (path, body) in [
            (format!("/{contact}?{page}"), None),
            (format!("/{upper}?{page}"), None),
            // The SDK repeats the path's id in the query string.
            (format!("/{contact}?{page}&contactId={contact}"), None),
            (format!("/{contact}?{page}&contactId={upper}"), None),
            (format!("/{contact}?{page}&sort=name&fieldsets=FULL"), None),
            (format!("?{page}&contactId={contact}"), None),
            (format!("/?{page}&contactId={contact}"), None),
            (String::new(), Some(&whole)),
            ("/".to_owned(), Some(&whole)),
            (format!("?{page}"), Some(&no_paging)),
            (format!("?contactId={contact}"), Some(&whole)),
            (format!("?{page}&contactId={contact}"), Some(&no_paging)),
        ] {
            let mut request = app.request(Method::GET, &format!("{prefix}{path}"));
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = Response::to(request).await;
            response.ok();
            assert_eq!(response.body, expected.body, "{prefix}{path} {body:?}");
        }
    }
}

#[tokio::test]
async fn paging_in_the_query_overrides_the_body() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..3)).await;
    let body = json!({ "contactId": contact.to_string(), "paging": { "limit": 1, "offset": 2 } });
    let path = "/contacts/v4/attachments?paging.offset=0";
    let list = Response::to(app.request(Method::GET, path).json(&body)).await.ok();
    assert_eq!(names(&list), ["000.csv"]);
}

#[tokio::test]
async fn absent_and_null_fields_are_the_same() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..1)).await;
    let expected = app.list(contact).await;
    for body in [
        json!({ "contactId": contact.to_string(), "paging": null }),
        json!({ "contactId": contact.to_string(), "paging": {} }),
        json!({ "contactId": contact.to_string(), "paging": { "limit": null, "offset": null } }),
        json!({ "contactId": contact.to_string(), "paging": { "cursor": 1 }, "unknown": [1] }),
    ] {
        let request = app.request(Method::GET, "/contacts/v4/attachments").json(&body);
        assert_eq!(Response::to(request).await.body, expected.body, "{body}");
    }
}

#[tokio::test]
async fn a_contradicting_repeated_id_is_rejected() {
    let app = TestApp::start().await;
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    let mismatch = [("contactId".to_owned(), "OTHER".to_owned())];
    let collection = "/contacts/v4/attachments";
    for query in [
        format!("contactId={other}"),
        format!("contactId={contact}&contactId={other}"),
        "contactId=".to_owned(),
        "contactId=nonsense".to_owned(),
        "contactId=%FF".to_owned(),
    ] {
        let response = app.get(&format!("{collection}/{contact}?{query}")).await;
        assert_eq!(response.violations(), mismatch, "{query}");
    }
    let body = json!({ "contactId": contact.to_string() });
    let path = format!("{collection}?contactId={other}");
    let response = Response::to(app.request(Method::GET, &path).json(&body)).await;
    assert_eq!(response.violations(), mismatch);
    let twice = format!("{collection}?contactId={contact}&contactId={other}");
    assert_eq!(app.get(&twice).await.violations(), mismatch);
}

#[tokio::test]
async fn upper_case_ids_are_returned_in_lower_case() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, numbered(0..1)).await;
    let list = app.list(contact).await.ok();
    let id = list["attachments"][0]["id"].as_str().unwrap();
    let (upper_contact, upper_id) = (contact.to_string().to_uppercase(), id.to_uppercase());
    let path = format!(
        "/contacts/v4/attachments/{upper_contact}/{upper_id}?contactId={contact}&attachmentId={id}"
    );
    assert_eq!(app.get(&path).await.ok()["attachment"], list["attachments"][0]);
    let absent = Uuid::new_v4();
    let path =
        format!("/contacts/v4/attachments/{upper_contact}/{}", absent.to_string().to_uppercase());
    assert_eq!(
        app.get(&path).await.json()["details"]["applicationError"]["data"],
        json!({ "contactId": contact.to_string(), "attachmentId": absent.to_string() })
    );
}
