//! A contact's files: searched, filtered, sorted, labelled and deleted together.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, jpeg, quarters, sha256_hex};
use crate::support::receiver::{OK, Receiver};
use crate::support::{Response, TestApp};

const CSV: &str = "text/csv";
const FILES: [(&str, &str); 6] = [
    ("Übersicht.csv", CSV),
    ("invoice_10%.csv", CSV),
    ("photo.jpg", "image/jpeg"),
    ("Scan.PDF", "application/pdf"),
    // Decomposed, as some systems write file names.
    ("u\u{308}bersicht 2.csv", CSV),
    ("Снимок.jpg", "image/jpeg"),
];

/// Uploads the files one second apart and returns their ids.
async fn upload_all(app: &TestApp, contact: Uuid) -> Vec<String> {
    for (number, (name, kind)) in FILES.iter().enumerate() {
        let bytes = match *kind {
            CSV => "a,b\n".repeat(number + 1).into_bytes(),
            "application/pdf" => PDF.to_vec(),
            _ => jpeg(&quarters(40, 20)),
        };
        app.upload(contact, name, kind, &bytes).await.ok();
        app.advance_seconds(1);
    }
    app.list_all(contact, "id").await
}

fn path(contact: Uuid, end: &str) -> String {
    format!("/dossier/v1/contacts/{contact}/attachments{end}")
}

/// All pages of a search with this `limit`, as indexes into the files, with the total of every
/// page.
async fn found(
    app: &TestApp,
    contact: Uuid,
    query: &[(&str, &str)],
    limit: usize,
) -> (Vec<usize>, u64) {
    let (mut found, mut cursor, mut total) = (Vec::new(), None::<String>, None);
    loop {
        let request = app.request(Method::GET, &path(contact, "")).query(query);
        let request = request.query(&[("limit", limit.to_string())]);
        let request = match &cursor {
            Some(cursor) => request.query(&[("cursor", cursor)]),
            None => request,
        };
        let page = Response::to(request).await.ok();
        let names = page["attachments"].as_array().unwrap().iter().map(|one| &one["fileName"]);
        found.extend(names.map(|name| FILES.iter().position(|file| name == file.0).unwrap()));
        let all = page["total"].as_u64().unwrap();
        assert_eq!(*total.get_or_insert(all), all);
        match &page["next"] {
            Value::String(next) => cursor = Some(next.clone()),
            next => {
                assert!(next.is_null(), "{next}");
                return (found, all);
            }
        }
    }
}

#[tokio::test]
async fn files_are_found_by_name_label_and_kind() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let ids = upload_all(&app, contact).await;
    let body = json!({ "label": "Hüfte LINKS" });
    Response::to(app.request(Method::PATCH, &path(contact, &format!("/{}", ids[2]))).json(&body))
        .await
        .ok();
    for (query, expected) in [
        (&[][..], &[0, 1, 2, 3, 4, 5][..]),
        (&[("search", "ÜBER")], &[0, 4]),
        (&[("search", "u\u{308}ber")], &[0, 4]),
        (&[("search", "снимок")], &[5]),
        (&[("search", "hüfte links")], &[2]),
        (&[("search", "%")], &[1]),
        (&[("search", "_")], &[1]),
        (&[("search", "nothing")], &[]),
        (&[("type", "image")], &[2, 5]),
        (&[("type", "pdf,spreadsheet")], &[0, 1, 3, 4]),
        (&[("type", "document,audio,video,archive,text,other")], &[]),
        (&[("type", "image"), ("search", "PHOTO")], &[2]),
        (&[("type", "")], &[0, 1, 2, 3, 4, 5]),
    ] {
        for limit in [1, 200] {
            let expected = (expected.to_vec(), expected.len() as u64);
            assert_eq!(found(&app, contact, query, limit).await, expected, "{query:?} {limit}");
        }
    }
    assert_eq!(found(&app, Uuid::new_v4(), &[], 9).await, (vec![], 0));
}

#[tokio::test]
async fn files_are_sorted_and_each_page_starts_after_the_previous_one() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    upload_all(&app, contact).await;
    // A space sorts before a dot.
    let by_name = vec![1, 2, 3, 4, 0, 5];
    // Smallest first; the two photos are equally large and sort by id.
    let by_size = vec![0, 1, 4, 3, 2, 5];
    let down = |order: &Vec<usize>| order.iter().rev().copied().collect::<Vec<_>>();
    for (sort, expected) in [
        ("created", vec![0, 1, 2, 3, 4, 5]),
        ("-created", vec![5, 4, 3, 2, 1, 0]),
        ("name", by_name.clone()),
        ("-name", down(&by_name)),
        ("size", by_size.clone()),
        ("-size", down(&by_size)),
    ] {
        for limit in [1, 2, 4, 6] {
            let (found, _) = found(&app, contact, &[("sort", sort)], limit).await;
            assert_eq!(found, expected, "{sort} {limit}");
        }
    }
    // Neither deletes nor uploads between two pages shift anything.
    let first = app.get(&path(contact, "?limit=2")).await.ok();
    let gone = first["attachments"][0]["id"].as_str().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{gone}")).await.ok();
    let next = path(contact, &format!("?limit=2&cursor={}", first["next"].as_str().unwrap()));
    let second = app.get(&next).await.ok();
    assert_eq!(second["attachments"][0]["fileName"], "photo.jpg");
}

#[tokio::test]
async fn mistakes_in_a_query_are_reported() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    upload_all(&app, contact).await;
    let next = app.get(&path(contact, "?limit=1")).await.ok()["next"].clone();
    let next = next.as_str().unwrap();
    let other = Uuid::new_v4();
    for (contact, query) in [
        (contact, format!("sort=name&cursor={next}")),
        (contact, format!("search=a&cursor={next}")),
        (contact, format!("type=pdf&cursor={next}")),
        (contact, format!("cursor={}", &next[1..])),
        (contact, "cursor=".to_owned()),
        (other, format!("cursor={next}")),
    ] {
        let response = app.get(&path(contact, &format!("?{query}"))).await;
        assert_eq!(response.violations(), [("cursor".to_owned(), "OTHER".to_owned())], "{query}");
    }
    let query = "?sort=date&type=image,exe&search=%00&limit=201&limit=2&cursor=x";
    let response = app.get(&path(contact, query)).await;
    let fields: Vec<String> = response.violations().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["search", "type", "sort", "limit", "cursor"]);
    let response = app.get("/dossier/v1/contacts/x/attachments").await;
    assert_eq!(response.violations(), [("contactId".to_owned(), "FORMAT".to_owned())]);
}

#[tokio::test]
async fn a_file_has_working_links_and_the_contracts_responses_are_unchanged() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let photo = jpeg(&quarters(40, 20));
    app.upload(contact, "photo.jpg", "image/jpeg", &photo).await.ok();
    let before = app.list(contact).await;
    let id = before.ok()["attachments"][0]["id"].as_str().unwrap().to_owned();
    let one = path(contact, &format!("/{id}"));
    let body = json!({ "label": "Left hip", "description": "Taken\nin March" });
    let changed = Response::to(app.request(Method::PATCH, &one).json(&body)).await.ok();
    let listed = app.get(&path(contact, "")).await;
    assert_eq!(listed.header("cache-control"), "private, no-store");
    let mut file = listed.ok()["attachments"][0].clone();
    assert_eq!(changed, json!({ "attachment": file }));
    for (field, bytes) in [("url", Some(&photo)), ("previewUrl", None)] {
        let link = file[field].take();
        let opened = app.open(link.as_str().unwrap()).await;
        assert_eq!(opened.status, 200);
        assert!(bytes.is_none_or(|bytes| *bytes == opened.body));
    }
    assert_eq!(
        file,
        json!({
            "id": id, "fileName": "photo.jpg", "mimeType": "image/jpeg", "type": "image",
            "sizeBytes": photo.len().to_string(), "width": 40, "height": 20,
            "createdAt": "2027-01-15T08:00:00.000Z", "sha256": sha256_hex(&photo),
            "label": "Left hip", "description": "Taken\nin March", "url": null,
            "previewUrl": null, "linksExpireAt": file["linksExpireAt"],
        })
    );
    // The contract's responses stay the same to the byte, and so do their ETags.
    let after = app.list(contact).await;
    assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body));
}

#[tokio::test]
async fn a_files_labels_and_description_are_validated_changed_and_removed() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (id, _) = app.upload_pdf(contact, "a.pdf").await;
    let one = path(contact, &format!("/{id}"));
    let patch =
        async |body: &Value| Response::to(app.request(Method::PATCH, &one).json(body)).await;
    let notes = |response: &Response| {
        let file = response.ok()["attachment"].clone();
        (file["label"].clone(), file["description"].clone())
    };
    let longest = json!({ "label": "ж".repeat(200), "description": "😀".repeat(2_000) });
    let response = patch(&longest).await;
    assert_eq!(notes(&response), (longest["label"].clone(), longest["description"].clone()));
    let response = patch(&json!({ "label": "b" })).await;
    assert_eq!(notes(&response), (json!("b"), longest["description"].clone()));
    let response = patch(&json!({ "description": "" })).await;
    assert_eq!(notes(&response), (json!("b"), Value::Null));
    assert_eq!(notes(&patch(&json!({})).await), (json!("b"), Value::Null));
    assert_eq!(notes(&patch(&json!({ "label": null })).await), (Value::Null, Value::Null));
    for (body, expected) in [
        (json!({ "label": "ж".repeat(201) }), [("label", "MAX_LENGTH")].as_slice()),
        (json!({ "description": "a".repeat(2_001) }), &[("description", "MAX_LENGTH")]),
        (
            json!({ "label": "a\0", "description": 7 }),
            &[("label", "OTHER"), ("description", "FORMAT")],
        ),
    ] {
        let found = patch(&body).await.violations();
        let found: Vec<_> = found.iter().map(|(field, rule)| (&**field, &**rule)).collect();
        assert_eq!(found, expected);
    }
    let viewer = app.other_key("VIEW").await;
    let response =
        Response::to(app.request_as(&viewer, Method::PATCH, &one).json(&json!({}))).await;
    assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()));
}

#[tokio::test]
async fn labels_and_descriptions_survive_the_trash_and_a_merge() {
    let app = TestApp::start_with(&[("trash_days", "30")]).await;
    let (contact, target) = (Uuid::new_v4(), Uuid::new_v4());
    let (id, _) = app.upload_pdf(contact, "Ä.pdf").await;
    app.upload_pdf(target, "b.pdf").await;
    let note = json!({ "label": "Köhler", "description": "secret words" });
    let one = path(contact, &format!("/{id}"));
    Response::to(app.request(Method::PATCH, &one).json(&note)).await.ok();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    Response::to(app.request(Method::POST, &format!("{one}/restore"))).await.ok();
    let body = json!({ "sourceContactIds": [contact] });
    let merge = format!("/dossier/v1/contacts/{target}/merge");
    Response::to(app.request(Method::POST, &merge).json(&body)).await.ok();
    for search in ["köhler", "ä.pdf"] {
        let found = app.get(&path(target, &format!("?search={search}"))).await.ok();
        assert_eq!(found["attachments"][0]["label"], "Köhler", "{search}");
        assert_eq!(found["attachments"][0]["description"], "secret words");
    }
    let erase = format!("/dossier/v1/contacts/{target}/erase");
    Response::to(app.request(Method::POST, &erase)).await.ok();
    assert_eq!(app.get(&path(target, "")).await.ok()["total"], 0);
    let rows = app.snapshot().await.join("\n").to_lowercase();
    assert!(!rows.contains("köhler") && !rows.contains("secret words"), "{rows}");
}

#[tokio::test]
async fn files_are_deleted_together_with_one_event_each_and_no_others_are_touched() {
    let (app, receiver) = (
        TestApp::start_with_webhooks_and(&[("trash_days", "30")]).await,
        Receiver::start(OK).await,
    );
    app.subscribe_to(&receiver, &["attachment_deleted"]).await;
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    let (first, link) = app.upload_pdf(contact, "a.pdf").await;
    let (second, _) = app.upload_pdf(contact, "b.pdf").await;
    let (kept, _) = app.upload_pdf(contact, "c.pdf").await;
    let (theirs, _) = app.upload_pdf(other, "theirs.pdf").await;
    let site = app.other_site().await;
    let foreign = app.upload_as(&site, contact, "foreign.csv").await;
    let unknown = Uuid::new_v4().to_string();
    let url = path(contact, "/bulk-delete");
    let post = async |ids: &Value| {
        let body = json!({ "attachmentIds": ids });
        Response::to(app.request(Method::POST, &url).json(&body)).await
    };
    let deleted = post(&json!([second, theirs, foreign, first, unknown])).await.ok();
    assert_eq!(
        deleted,
        json!({ "deleted": [second, first], "notFound": [theirs, foreign, unknown] })
    );
    assert_eq!(app.list_all(contact, "id").await, [kept]);
    assert_eq!(app.list_all(other, "id").await, [theirs]);
    assert_eq!(app.open(&link).await.status, 404);
    let trash = app.get(&format!("/dossier/v1/contacts/{contact}/trash")).await.ok();
    assert_eq!(trash["attachments"].as_array().unwrap().len(), 2);
    let mut ids_received: Vec<String> = Vec::new();
    for one in receiver.wait_for_deliveries(2).await {
        ids_received.push(one.event["entityId"].as_str().unwrap().to_owned());
    }
    ids_received.sort();
    let mut expected = [first.clone(), second];
    expected.sort();
    assert_eq!(ids_received, expected);
    // Repeating it deletes nothing.
    let again = post(&json!([first])).await.ok();
    assert_eq!(again, json!({ "deleted": [], "notFound": [first] }));
    let many: Vec<String> = (0..101).map(|_| Uuid::new_v4().to_string()).collect();
    for (ids, rule) in [
        (json!([]), "REQUIRED_FIELD"),
        (Value::Null, "REQUIRED_FIELD"),
        (json!("x"), "FORMAT"),
        (json!([7]), "FORMAT"),
        (json!([unknown, unknown]), "OTHER"),
        (json!(many), "MAX"),
    ] {
        assert_eq!(post(&ids).await.violations(), [("attachmentIds".to_owned(), rule.to_owned())]);
    }
}

#[tokio::test]
async fn a_site_can_read_its_usage_and_quotas() {
    let app =
        TestApp::start_with(&[("site_max_bytes", "1000000"), ("contact_max_files", "7")]).await;
    app.upload_pdf(Uuid::new_v4(), "a.pdf").await;
    app.upload_pdf(Uuid::new_v4(), "b.pdf").await;
    let usage = app.get("/dossier/v1/usage").await.ok();
    assert_eq!(usage["site"]["siteId"], app.site.to_string());
    assert_eq!(usage["site"]["attachmentCount"], 2);
    assert_eq!(usage["site"]["totalBytes"], (2 * PDF.len()).to_string());
    assert_eq!(
        usage["site"]["quotas"],
        json!({
            "maxFiles": null, "maxBytes": "1000000", "contactMaxFiles": 7, "contactMaxBytes": null,
        })
    );
    let other = app.other_site().await;
    let theirs = Response::to(app.request_as(&other, Method::GET, "/dossier/v1/usage")).await.ok();
    assert_eq!(theirs["site"]["attachmentCount"], 0);
}
