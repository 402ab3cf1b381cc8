//! Rejected values (contract §6): every row of its table, with the exact field, rule, data and
//! message. Requests rejected before any value is read are in `errors_http.rs`.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Response, TestApp};

const COLLECTION: &str = "/contacts/v4/attachments";

pub(crate) fn violation(field: &str, rule: &str, description: &str, data: Option<Value>) -> Value {
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

/// Asserts that a body is exactly that of a 400 with these violations.
pub(crate) fn assert_invalid(response: &Response, violations: &[Value], case: &str) {
    let message: Vec<String> = violations
        .iter()
        .map(|v| format!("{} {}", v["field"].as_str().unwrap(), v["description"].as_str().unwrap()))
        .collect();
    let expected = json!({
        "message": message.join("; "),
        "details": { "validationError": { "fieldViolations": violations } },
    });
    assert_eq!((response.status.as_u16(), response.json()), (400, expected), "{case}");
}

/// Asserts that a body is exactly that of an application error.
pub(crate) fn assert_rejected(
    response: &Response,
    status: u16,
    code: &str,
    description: &str,
    data: &Value,
) {
    let expected = json!({
        "message": description,
        "details": {
            "applicationError": { "code": code, "description": description, "data": data },
        },
    });
    assert_eq!((response.status.as_u16(), response.json()), (status, expected));
}

#[tokio::test]
async fn invalid_guids_are_reported() {
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
        let response = Response::to(app.request(Method::POST, &path).json(&body)).await;
        assert_invalid(&response, &contact, id);
    }
}

#[tokio::test]
async fn a_list_without_a_contact_id_is_rejected() {
    let app = TestApp::start().await;
    for path in [COLLECTION, "/_api/contacts/v4/attachments", "/contacts/v4/attachments/?a=b"] {
        assert_invalid(&app.get(path).await, &[required("contactId")], path);
    }
    for body in ["{}", r#"{"contactId":null}"#, " \r\n"] {
        let response = Response::to(app.request(Method::GET, COLLECTION).body(body)).await;
        assert_invalid(&response, &[required("contactId")], body);
    }
}

#[tokio::test]
async fn paging_outside_its_limits_is_rejected() {
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
        let response = app.get(&format!("{COLLECTION}/{contact}?{query}")).await;
        assert_invalid(&response, &expected, query);
    }
    for (paging, expected) in [
        (json!({ "limit": 101 }), vec![above.clone()]),
        (json!({ "limit": -1, "offset": -1 }), vec![below(limit), below(offset)]),
        (json!({ "limit": "5" }), vec![no_integer(limit)]),
        (json!({ "limit": 1.5 }), vec![no_integer(limit)]),
        (json!({ "limit": true, "offset": [] }), vec![no_integer(limit), no_integer(offset)]),
    ] {
        let body = json!({ "contactId": contact.to_string(), "paging": paging });
        let response = Response::to(app.request(Method::GET, COLLECTION).json(&body)).await;
        assert_invalid(&response, &expected, &body.to_string());
    }
}

#[tokio::test]
async fn a_repeated_paging_parameter_is_rejected() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/{}?paging.limit=1&paging.limit=2", Uuid::new_v4());
    assert_eq!(
        app.get(&path).await.violations(),
        [("paging.limit".to_owned(), "OTHER".to_owned())]
    );
}

#[tokio::test]
async fn generate_reports_every_missing_or_invalid_field() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let empty = |field| {
        let data = Some(json!({ "threshold": 1 }));
        violation(field, "MIN_LENGTH", "must have at least 1 character", data)
    };
    let long = |field, limit: u64| {
        let description = format!("must have at most {limit} characters");
        violation(field, "MAX_LENGTH", &description, Some(json!({ "threshold": limit })))
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
async fn an_unsupported_type_is_rejected_with_the_supported_ones() {
    let app = TestApp::start().await;
    for mime in ["text/html", "image/svg+xml", "application/octet-stream", "nonsense", "image/*"] {
        let body = json!({ "fileName": "a.csv", "mimeType": mime });
        let response = app.generate(Uuid::new_v4(), &body).await;
        let json = response.json();
        let violation = &json["details"]["validationError"]["fieldViolations"][0];
        assert_eq!(response.status.as_u16(), 400, "{mime}");
        assert_eq!(violation["field"], "mimeType", "{mime}");
        assert_eq!(violation["violatedRule"], "OTHER", "{mime}");
        assert_eq!(violation["ruleName"], "UNSUPPORTED_MIME_TYPE", "{mime}");
        assert_eq!(violation["description"], "is not a supported MIME type", "{mime}");
        assert_eq!(violation["data"]["mimeType"], mime);
        let supported = violation["data"]["supported"].as_array().unwrap();
        for good in ["text/csv", "application/pdf", "image/*"] {
            assert!(supported.contains(&json!(good)), "{good} is missing from {supported:?}");
        }
    }
}

#[tokio::test]
async fn all_violations_are_reported_at_once() {
    let app = TestApp::start().await;
    let path = format!("{COLLECTION}/undefined/upload-url");
    let body = json!({ "fileName": "" });
    let response = Response::to(app.request(Method::POST, &path).json(&body)).await;
    let found = response.violations();
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
    let response = app.generate(contact, &body(Uuid::new_v4().to_string())).await;
    assert_eq!(response.violations(), [("contactId".to_owned(), "OTHER".to_owned())]);
}

#[tokio::test]
async fn a_missing_attachment_is_reported_by_id() {
    let app = TestApp::start().await;
    let (contact, id) = (Uuid::new_v4(), Uuid::new_v4());
    let data = json!({ "contactId": contact.to_string(), "attachmentId": id.to_string() });
    let path = format!("{COLLECTION}/{contact}/{id}");
    for response in [app.get(&path).await, app.delete(&path).await] {
        assert_rejected(&response, 404, "NOT_FOUND", "attachment was not found", &data);
    }
}
