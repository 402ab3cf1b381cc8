//! Searching and sorting contacts: the same on both databases, page by page, within one site.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Member, Response, TestApp};

const LABELS: [Option<&str>; 7] = [
    Some("Ärztin Köhler"),
    Some("anna Lind"),
    Some("Zoë 100%"),
    // Decomposed, as some systems write file names.
    Some("a\u{308}rzte_haus"),
    Some("МРТ Иванов"),
    None,
    None,
];

/// One contact per label, with rising ids and one more file each.
async fn contacts(app: &TestApp) -> Vec<Uuid> {
    let mut contacts = Vec::new();
    for (number, label) in (0_u128..).zip(LABELS) {
        let contact = Uuid::from_u128((number + 1) << 120 | 0xabc);
        let path = format!("/dossier/v1/contacts/{contact}");
        let body = json!({ "label": label });
        Response::to(app.request(Method::PUT, &path).json(&body)).await.ok();
        app.advance_seconds(1);
        contacts.push(contact);
    }
    for (number, contact) in contacts.iter().enumerate() {
        // The fourth has no file: its activity is its announcement.
        if number != 3 {
            app.upload_csvs(*contact, (0..=number).map(|file| format!("{file}.csv"))).await;
            app.advance_seconds(1);
        }
    }
    contacts
}

/// All pages of a search with this `limit`, as indexes into the contacts.
async fn found(app: &TestApp, contacts: &[Uuid], query: &[(&str, &str)], limit: u32) -> Vec<usize> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let request = app.request(Method::GET, "/dossier/v1/contacts").query(query);
        let request = request.query(&[("limit", &limit.to_string())]);
        let request = if after.is_empty() { request } else { request.query(&[("after", &after)]) };
        let page = Response::to(request).await.ok();
        for item in page["contacts"].as_array().unwrap() {
            assert_eq!(item["id"], item["contactId"]);
            let id: Uuid = item["id"].as_str().unwrap().parse().unwrap();
            found.push(contacts.iter().position(|known| *known == id).unwrap());
        }
        match &page["next"] {
            Value::String(next) => after.clone_from(next),
            next => {
                assert!(next.is_null(), "{next}");
                return found;
            }
        }
        assert_eq!(page["contacts"].as_array().unwrap().len(), limit as usize);
    }
}

#[tokio::test]
async fn contacts_are_found_by_id_and_by_label() {
    let app = TestApp::start().await;
    let contacts = contacts(&app).await;
    for (search, expected) in [
        ("", &[0, 1, 2, 3, 4, 5, 6][..]),
        ("  ", &[0, 1, 2, 3, 4, 5, 6]),
        ("0300", &[2]),
        ("03000000-0000", &[2]),
        ("0", &[0, 1, 2, 3, 4, 5, 6]),
        // Matches the start of an id or any part of a label.
        ("01", &[0]),
        ("10", &[2]),
        ("ANNA", &[1]),
        ("lind", &[1]),
        ("ärz", &[0, 3]),
        ("ÄRZ", &[0, 3]),
        ("A\u{308}RZ", &[0, 3]),
        ("мрт ивАНОВ", &[4]),
        // SQL wildcards match themselves.
        ("%", &[2]),
        ("_", &[3]),
        ("a%l", &[]),
        ("\\", &[]),
        ("nobody", &[]),
    ] {
        for limit in [1, 2, 1_000] {
            let given = [("search", search)];
            assert_eq!(found(&app, &contacts, &given, limit).await, expected, "{search} {limit}");
        }
    }
}

#[tokio::test]
async fn contacts_are_sorted_and_each_page_starts_after_the_previous_one() {
    let app = TestApp::start().await;
    let contacts = contacts(&app).await;
    for (sort, expected) in [
        ("id", [0, 1, 2, 3, 4, 5, 6]),
        // By code points of the folded labels; contacts without one come last, by id.
        ("label", [1, 2, 3, 0, 4, 5, 6]),
        ("-lastActivity", [6, 5, 4, 2, 1, 0, 3]),
        ("-count", [6, 5, 4, 2, 1, 0, 3]),
        ("-size", [6, 5, 4, 2, 1, 0, 3]),
    ] {
        for limit in [1, 3, 7, 100] {
            let given = [("sort", sort)];
            assert_eq!(found(&app, &contacts, &given, limit).await, expected, "{sort} {limit}");
        }
    }
    let both = [("sort", "-count"), ("search", "l")];
    assert_eq!(found(&app, &contacts, &both, 1).await, [1, 0]);
    // A changed label is found by its new value.
    let path = format!("/dossier/v1/contacts/{}", contacts[0]);
    let body = json!({ "label": "Ödön" });
    let changed = Response::to(app.request(Method::PUT, &path).json(&body)).await.ok();
    assert_eq!(changed["contact"]["label"], "Ödön");
    assert_eq!(found(&app, &contacts, &[("search", "öd")], 9).await, [0]);
    assert_eq!(found(&app, &contacts, &[("search", "ärztin")], 9).await, [] as [usize; 0]);
}

#[tokio::test]
async fn a_cursor_works_only_for_its_own_list() {
    let app = TestApp::start().await;
    let contacts = contacts(&app).await;
    let page = app.get("/dossier/v1/contacts?sort=label&limit=1").await.ok();
    let next = page["next"].as_str().unwrap().to_owned();
    let id = contacts[0];
    for query in [
        format!("after={next}"),
        format!("sort=-size&after={next}"),
        format!("sort=label&search=a&after={next}"),
        format!("sort=label&after={id}"),
        format!("sort=label&after={}", &next[1..]),
        "after=x".to_owned(),
        "after=".to_owned(),
    ] {
        let response = app.get(&format!("/dossier/v1/contacts?{query}")).await;
        assert_eq!(response.violations(), [("after".to_owned(), "OTHER".to_owned())], "{query}");
    }
    let response = app.get("/dossier/v1/contacts?sort=size&search=%00&limit=0&after=x").await;
    let fields: Vec<String> = response.violations().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["search", "sort", "limit", "after"]);
    let long = "é".repeat(261);
    let response = app.get(&format!("/dossier/v1/contacts?search={long}")).await;
    assert_eq!(response.violations(), [("search".to_owned(), "MAX_LENGTH".to_owned())]);
}

#[tokio::test]
async fn a_search_finds_nothing_of_another_site() {
    let app = TestApp::start().await;
    contacts(&app).await;
    let other: Member = app.other_site().await;
    let next = app.get("/dossier/v1/contacts?limit=1").await.ok()["next"].clone();
    for query in ["search=anna", "search=0", "sort=-count", "sort=label"] {
        let path = format!("/dossier/v1/contacts?{query}");
        let theirs = Response::to(app.request_as(&other, Method::GET, &path)).await.ok();
        assert_eq!(theirs, json!({ "contacts": [], "next": null }), "{query}");
    }
    let path = format!("/dossier/v1/contacts?after={}", next.as_str().unwrap());
    let theirs = Response::to(app.request_as(&other, Method::GET, &path)).await.ok();
    assert_eq!(theirs["contacts"], json!([]));
}

#[tokio::test]
async fn deleted_contacts_are_not_found_and_leave_no_label() {
    let app = TestApp::start().await;
    let contacts = contacts(&app).await;
    let path = format!("/dossier/v1/contacts/{}/erase", contacts[0]);
    Response::to(app.request(Method::POST, &path)).await.ok();
    assert_eq!(found(&app, &contacts, &[("search", "ärz")], 9).await, [3]);
    assert_eq!(found(&app, &contacts, &[("search", "0100")], 9).await, [] as [usize; 0]);
    let rows = app.snapshot().await.join("\n");
    assert!(!rows.to_lowercase().contains("köhler"));
}
