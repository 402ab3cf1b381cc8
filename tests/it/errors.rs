//! Refusals (contract §6): every row of its table, with the exact field, rule, data and words.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, TestApp};

const COLLECTION: &str = "/contacts/v4/attachments";

fn violation(field: &str, rule: &str, description: &str, data: Option<Value>) -> Value {
    let mut violation = json!({ "field": field, "description": description, "violatedRule": rule });
    if let Some(data) = data {
        violation["data"] = data;
    }
    violation
}

fn not_a_guid(field: &str) -> Value {
    violation(field, "FORMAT", "is not a valid GUID", Some(json!({ "type": "GUID" })))
}

fn required(field: &str) -> Value {
    violation(field, "REQUIRED_FIELD", "must not be empty", None)
}

/// Compares a whole body with that of a 400 with these violations.
fn assert_invalid(answer: &Answer, violations: &[Value], case: &str) {
    let message: Vec<String> = violations
        .iter()
        .map(|v| format!("{} {}", v["field"].as_str().unwrap(), v["description"].as_str().unwrap()))
        .collect();
    let expected = json!({
        "message": message.join("; "),
        "details": { "validationError": { "fieldViolations": violations } },
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (400, expected), "{case}");
}

/// Compares a whole body with that of an application error.
fn assert_refused(answer: &Answer, status: u16, code: &str, description: &str, data: &Value) {
    let expected = json!({
        "message": description,
        "details": {
            "applicationError": { "code": code, "description": description, "data": data },
        },
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (status, expected));
}

#[tokio::test]
async fn ids_that_are_no_guids_are_named() {
    let app = TestApp::start().await;
    let good = Uuid::new_v4();
    let simple = good.simple();
    let nonsense = [
        "undefined".to_owned(),
        "null".to_owned(),
        simple.to_string(),
        format!("{{{good}}}"),
        format!("{good}0"),
        "a%20b".to_owned(),
        "%C3%A9".to_owned(),
        "g0000000-0000-4000-8000-000000000000".to_owned(),
    ];
    for id in &nonsense {
        let contact = [not_a_guid("contactId")];
        let attachment = [not_a_guid("attachmentId")];
        let both = [not_a_guid("contactId"), not_a_guid("attachmentId")];
        assert_invalid(&app.get(&format!("{COLLECTION}/{id}")).await, &contact, id);
        assert_invalid(&app.get(&format!("{COLLECTION}?contactId={id}")).await, &contact, id);
        assert_invalid(&app.get(&format!("{COLLECTION}/{good}/{id}")).await, &attachment, id);
        assert_invalid(&app.get(&format!("{COLLECTION}/{id}/{good}")).await, &contact, id);
        assert_invalid(&app.get(&format!("{COLLECTION}/{id}/{id}")).await, &both, id);
        assert_invalid(&app.delete(&format!("{COLLECTION}/{id}/{id}")).await, &both, id);
        let path = format!("{COLLECTION}/{id}/upload-url");
        let body = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
        let answer = Answer::of(app.request(Method::POST, &path).json(&body)).await;
        assert_invalid(&answer, &contact, id);
    }
}

#[tokio::test]
async fn a_list_without_a_contact_anywhere_is_refused() {
    let app = TestApp::start().await;
    for path in [COLLECTION, "/_api/contacts/v4/attachments", "/contacts/v4/attachments/?a=b"] {
        assert_invalid(&app.get(path).await, &[required("contactId")], path);
    }
    for body in ["{}", r#"{"contactId":null}"#, " \r\n"] {
        let answer = Answer::of(app.request(Method::GET, COLLECTION).body(body)).await;
        assert_invalid(&answer, &[required("contactId")], body);
    }
}

#[tokio::test]
async fn paging_outside_its_limits_is_refused() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let below =
        |field| violation(field, "MIN", "must be at least 0", Some(json!({ "threshold": 0 })));
    let data = Some(json!({ "threshold": 100 }));
    let above = violation("paging.limit", "MAX", "must be at most 100", data);
    let no_integer =
        |field| violation(field, "FORMAT", "is not an integer", Some(json!({ "type": "INT32" })));
    let (limit, offset) = ("paging.limit", "paging.offset");
    for (query, expected) in [
        ("paging.limit=101", vec![above.clone()]),
        ("paging.limit=5000", vec![above.clone()]),
        ("paging.limit=99999999999999999999", vec![above.clone()]),
        ("paging.limit=-1", vec![below(limit)]),
        ("paging.offset=-1", vec![below(offset)]),
        ("paging.limit=ten", vec![no_integer(limit)]),
        ("paging.limit=1.5", vec![no_integer(limit)]),
        ("paging.limit=", vec![no_integer(limit)]),
        ("paging.limit=%2B5", vec![no_integer(limit)]),
        ("paging.limit=%FF", vec![no_integer(limit)]),
        ("paging.offset=0x10", vec![no_integer(offset)]),
        ("paging.offset=2147483648", vec![no_integer(offset)]),
        ("paging.limit=101&paging.offset=-1", vec![above.clone(), below(offset)]),
    ] {
        let answer = app.get(&format!("{COLLECTION}/{contact}?{query}")).await;
        assert_invalid(&answer, &expected, query);
    }
    for (paging, expected) in [
        (json!({ "limit": 101 }), vec![above.clone()]),
        (json!({ "limit": -1, "offset": -1 }), vec![below(limit), below(offset)]),
        (json!({ "limit": "5" }), vec![no_integer(limit)]),
        (json!({ "limit": 1.5 }), vec![no_integer(limit)]),
        (json!({ "limit": true, "offset": [] }), vec![no_integer(limit), no_integer(offset)]),
    ] {
        let body = json!({ "contactId": contact.to_string(), "paging": paging });
        let answer = Answer::of(app.request(Method::GET, COLLECTION).json(&body)).await;
        assert_invalid(&answer, &expected, &body.to_string());
    }
}

#[tokio::test]
async fn a_parameter_of_paging_that_stands_twice_is_refused() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}?paging.limit=1&paging.limit=2", Uuid::new_v4());
    assert_eq!(
        app.get(&path).await.violations(),
        [("paging.limit".to_owned(), "OTHER".to_owned())]
    );
}

#[tokio::test]
async fn generate_names_every_field_that_is_missing_or_out_of_bounds() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let empty = |field| {
        let data = Some(json!({ "threshold": 1 }));
        violation(field, "MIN_LENGTH", "must have at least 1 character", data)
    };
    let long = |field, most: u64| {
        let description = format!("must have at most {most} characters");
        violation(field, "MAX_LENGTH", &description, Some(json!({ "threshold": most })))
    };
    let not_text =
        |field| violation(field, "FORMAT", "is not a string", Some(json!({ "type": "STRING" })));
    let (name, mime) = ("fileName", "mimeType");
    // Counted in characters, not in bytes.
    let longest = format!("{}.csv", "é".repeat(256));
    app.generate(contact, &json!({ name: longest, mime: "text/csv" })).await.ok();
    for (body, expected) in [
        (json!({}), vec![required(name), required(mime)]),
        (json!({ name: null, mime: null }), vec![required(name), required(mime)]),
        (json!({ name: "a.csv" }), vec![required(mime)]),
        (json!({ mime: "text/csv" }), vec![required(name)]),
        (json!({ name: "", mime: "" }), vec![empty(name), empty(mime)]),
        (json!({ name: format!("é{longest}"), mime: "text/csv" }), vec![long(name, 260)]),
        (json!({ name: "a.csv", mime: "x".repeat(256) }), vec![long(mime, 255)]),
        (json!({ name: 1, mime: ["text/csv"] }), vec![not_text(name), not_text(mime)]),
        (json!({ name: { "value": "a" }, mime: true }), vec![not_text(name), not_text(mime)]),
        (json!({ "contactId": 5, name: "a.csv", mime: "text/csv" }), vec![not_text("contactId")]),
    ] {
        assert_invalid(&app.generate(contact, &body).await, &expected, &body.to_string());
    }
}

#[tokio::test]
async fn an_unsupported_type_is_refused_with_the_supported_ones() {
    let app = TestApp::start().await;
    for mime in ["text/html", "image/svg+xml", "application/octet-stream", "nonsense", "image/*"] {
        let body = json!({ "fileName": "a.csv", "mimeType": mime });
        let answer = app.generate(Uuid::new_v4(), &body).await;
        let json = answer.json();
        let violation = &json["details"]["validationError"]["fieldViolations"][0];
        assert_eq!(answer.status.as_u16(), 400, "{mime}");
        assert_eq!(violation["field"], "mimeType", "{mime}");
        assert_eq!(violation["violatedRule"], "OTHER", "{mime}");
        assert_eq!(violation["ruleName"], "UNSUPPORTED_MIME_TYPE", "{mime}");
        assert_eq!(violation["description"], "is not a supported MIME type", "{mime}");
        assert_eq!(violation["data"]["mimeType"], mime);
        let supported = violation["data"]["supported"].as_array().unwrap();
        for good in ["text/csv", "application/pdf", "image/*"] {
            assert!(supported.contains(&json!(good)), "{good} is missing in {supported:?}");
        }
    }
}

#[tokio::test]
async fn all_violations_are_reported_at_once() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/undefined/upload-url");
    let body = json!({ "fileName": "" });
    let answer = Answer::of(app.request(Method::POST, &path).json(&body)).await;
    let found = answer.violations();
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["contactId", "fileName", "mimeType"]);
}

#[tokio::test]
async fn an_id_repeated_in_the_body_of_generate_must_equal_the_path() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let body = |id: String| json!({ "contactId": id, "fileName": "a.csv", "mimeType": "text/csv" });
    app.generate(contact, &body(contact.to_string())).await.ok();
    app.generate(contact, &body(contact.to_string().to_uppercase())).await.ok();
    let answer = app.generate(contact, &body(Uuid::new_v4().to_string())).await;
    assert_eq!(answer.violations(), [("contactId".to_owned(), "OTHER".to_owned())]);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_the_place() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    for (body, line, column) in [
        (&b"{\"fileName\":"[..], 1, 12),
        (b"{\n  \"fileName\": 'a'\n}", 2, 15),
        (b"nonsense", 1, 2),
        (b"\xff\xfe", 1, 1),
        (b"{} {}", 1, 4),
        (b"fileName=a.csv&mimeType=text/csv", 1, 2),
    ] {
        let answer = Answer::of(app.request(Method::POST, &path).body(body.to_vec())).await;
        let description = format!("the body is not JSON: see line {line}, column {column}");
        let data = json!({ "line": line, "column": column });
        assert_refused(&answer, 400, "INVALID_ARGUMENT", &description, &data);
    }
}

#[tokio::test]
async fn a_body_nested_without_end_is_refused() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let answer = Answer::of(app.request(Method::POST, &path).body("[".repeat(60_000))).await;
    assert_eq!(answer.refused(), (400, "INVALID_ARGUMENT".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    for body in ["[]", "null", "1", "\"text\"", "true"] {
        for request in [
            app.request(Method::POST, &path).body(body),
            app.request(Method::GET, COLLECTION).body(body),
        ] {
            let answer = Answer::of(request).await;
            assert_refused(&answer, 400, "INVALID_ARGUMENT", "Expected an object", &json!({}));
        }
    }
    let body = json!({ "contactId": Uuid::new_v4().to_string(), "paging": [1] });
    let answer = Answer::of(app.request(Method::GET, COLLECTION).json(&body)).await;
    let data = Some(json!({ "type": "OBJECT" }));
    assert_invalid(&answer, &[violation("paging", "FORMAT", "is not an object", data)], "paging");
}

#[tokio::test]
async fn json_is_read_whatever_its_content_type() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let body = json!({ "fileName": "a.csv", "mimeType": "text/csv", "unknown": {} }).to_string();
    for content_type in [None, Some("application/json; charset=utf-8"), Some("text/plain")] {
        let mut request = app.request(Method::POST, &path).body(body.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        Answer::of(request).await.ok();
    }
}

#[tokio::test]
async fn a_json_body_that_is_too_large_is_refused() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}/upload-url", Uuid::new_v4());
    let body = json!({ "fileName": "a".repeat(70_000), "mimeType": "text/csv" });
    let answer = Answer::of(app.request(Method::POST, &path).json(&body)).await;
    let data = json!({ "limitBytes": 65_536 });
    assert_refused(&answer, 413, "REQUEST_TOO_LARGE", "must have at most 65536 bytes", &data);
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused() {
    let app = TestApp::start().await;
    let good = Uuid::new_v4();
    for path in [
        format!("{COLLECTION}/%FF"),
        format!("{COLLECTION}/{good}/%C3%28"),
        "/media/%FF".to_owned(),
    ] {
        let answer = app.get(&path).await;
        let description = "the path is not valid UTF-8";
        assert_refused(&answer, 400, "INVALID_ARGUMENT", description, &json!({}));
    }
}

#[tokio::test]
async fn an_absent_attachment_is_named() {
    let app = TestApp::start().await;
    let (contact, id) = (Uuid::new_v4(), Uuid::new_v4());
    let data = json!({ "contactId": contact.to_string(), "attachmentId": id.to_string() });
    let path = format!("{COLLECTION}/{contact}/{id}");
    for answer in [app.get(&path).await, app.delete(&path).await] {
        assert_refused(&answer, 404, "NOT_FOUND", "attachment was not found", &data);
    }
}

#[tokio::test]
async fn an_unknown_route_is_a_json_404() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/contacts/v4",
        "/contacts/v4/attachmentsx",
        "/contacts/v4/attachments/a/b/c",
        "/contacts/v5/attachments/a",
        "/contacts/v4/attachments//",
        "/index.html",
        "/%00/..%2f..%2fetc/passwd",
    ] {
        let answer = app.get(path).await;
        let data = json!({ "method": "GET", "path": path });
        assert_refused(&answer, 404, "NOT_FOUND", "this address was not found", &data);
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
}

#[tokio::test]
async fn a_method_that_a_route_lacks_is_refused_with_those_that_it_has() {
    let app = TestApp::start().await;
    let id = Uuid::new_v4();
    for (method, path, allow) in [
        (Method::POST, COLLECTION.to_owned(), "GET,HEAD"),
        (Method::DELETE, format!("{COLLECTION}/{id}"), "GET,HEAD"),
        (Method::PATCH, format!("{COLLECTION}/{id}/{id}"), "GET,HEAD,DELETE"),
        (Method::GET, format!("{COLLECTION}/{id}/upload-url"), "POST"),
        (Method::GET, "/upload/token".to_owned(), "PUT,POST"),
        (Method::PUT, "/media/id".to_owned(), "GET,HEAD"),
    ] {
        let answer = Answer::of(app.request(method.clone(), &path)).await;
        let description = format!("this address does not answer {method}");
        assert_refused(&answer, 405, "METHOD_NOT_ALLOWED", &description, &json!({}));
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let list = format!("{COLLECTION}/{contact}");
    let etag = app.get(&list).await.header("etag").to_owned();
    let requests = [
        (200, app.request(Method::GET, &list)),
        (200, app.request(Method::HEAD, &list)),
        (304, app.request(Method::GET, &list).header("if-none-match", etag)),
        (200, app.request(Method::OPTIONS, &list)),
        (200, app.anonymous(Method::GET, "/dossier/v1/health")),
        (400, app.request(Method::GET, &format!("{COLLECTION}/undefined"))),
        (401, app.anonymous(Method::GET, &list)),
        (403, app.anonymous(Method::PUT, "/upload/forged")),
        (404, app.request(Method::GET, &format!("{list}/{contact}"))),
        (404, app.request(Method::GET, "/nowhere")),
        (404, app.request(Method::GET, "/media/nothing")),
        (405, app.request(Method::PATCH, &list)),
    ];
    let mut ids = std::collections::HashSet::new();
    for (status, request) in requests {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        let id = answer.header("x-wix-request-id");
        assert!(!id.is_empty(), "{answer:?}");
        assert!(ids.insert(id.to_owned()), "{id} was given twice");
        if status >= 400 {
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }
}

#[tokio::test]
async fn a_client_cannot_choose_its_request_id() {
    let app = TestApp::start().await;
    let request = app.request(Method::GET, "/nowhere").header("x-wix-request-id", "mine");
    assert_ne!(Answer::of(request).await.header("x-wix-request-id"), "mine");
}

#[tokio::test]
async fn our_own_fault_is_an_empty_500() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n1,2\n").await.ok();
    let list = app.list(contact).await.ok();
    let url = list["attachments"][0]["document"]["url"].as_str().unwrap();
    std::fs::remove_dir_all(app.data().join("blobs")).unwrap();
    let answer = app.open(url).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.json(), json!({ "message": "", "details": {} }));
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.header("x-wix-request-id").is_empty());
}

#[tokio::test]
async fn one_request_too_many_is_told_when_to_come_back() {
    let app = TestApp::start_with(&[("requests_per_minute", "2")]).await;
    let contact = Uuid::new_v4();
    app.advance_seconds(20);
    app.list(contact).await.ok();
    app.list(contact).await.ok();
    let answer = app.list(contact).await;
    let data = json!({ "retryAfterSeconds": 40 });
    let description = "too many requests; wait 40 seconds";
    assert_refused(&answer, 429, "RESOURCE_EXHAUSTED", description, &data);
    assert_eq!(answer.header("retry-after"), "40");
    app.advance_seconds(40);
    app.list(contact).await.ok();
}
