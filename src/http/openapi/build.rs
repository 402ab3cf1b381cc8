//! Puts the description together: operations of paths, their parameters, bodies and answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::errors;
use super::schemas;

/// Key names that a `required` list or a set of codes holds.
pub(super) type Names = &'static [&'static str];

/// No token is longer; the head of a request has its own bound.
const MAX_TOKEN_CHARS: usize = 8_192;

/// The paths of the description.
#[derive(Default)]
pub(super) struct Paths(BTreeMap<String, Map<String, Value>>);

impl Paths {
    /// Describes a method of a path, which is written as the router writes it.
    pub(super) fn add(&mut self, method: &str, route: &str, operation: Operation) {
        let names: Vec<&str> =
            route.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let path = names.iter().fold(route.to_owned(), |path, name| {
            path.replace(&format!("{{{name}}}"), &format!("{{{}}}", shown(name)))
        });
        let item = self.0.entry(path).or_insert_with(|| {
            let parameters: Vec<Value> = names.iter().map(|name| path_parameter(name)).collect();
            let mut item = Map::new();
            if !parameters.is_empty() {
                item.insert("parameters".to_owned(), json!(parameters));
            }
            item
        });
        item.insert(method.to_owned(), operation.finish());
    }

    /// Says that a path is answered at another address than the others.
    pub(super) fn elsewhere(&mut self, route: &str, servers: Value) {
        if let Some(item) = self.0.get_mut(route) {
            item.insert("servers".to_owned(), servers);
        }
    }

    /// As the description holds them.
    pub(super) fn finish(self) -> Value {
        self.0.into_iter().map(|(path, item)| (path, Value::Object(item))).collect()
    }
}

/// The name of a path's parameter, by the router's.
fn shown(name: &str) -> &str {
    match name {
        "contact" => "contactId",
        "attachment" => "attachmentId",
        "webhook" => "webhookId",
        "receipt" => "receiptId",
        "key" => "keyId",
        "site" => "siteId",
        "upload" => "uploadId",
        "media" => "mediaId",
        "*transform" => "transform",
        "*file" => "file",
        other => other,
    }
}

fn path_parameter(name: &str) -> Value {
    let name = shown(name);
    let (schema, description) = match name {
        "contactId" => (schemas::guid(), "The contact."),
        "attachmentId" => (schemas::guid(), "The attachment."),
        "webhookId" => (schemas::guid(), "The webhook."),
        "receiptId" => (schemas::guid(), "The receipt of an erasure."),
        "keyId" => (schemas::guid(), "The API key, by its id."),
        "siteId" => (schemas::guid(), "The site."),
        "uploadId" => (schemas::text(64), "The resumable upload, as its `Location` names it."),
        "mediaId" => (schemas::media_id(), "The media id, as links hold it."),
        "transform" => (
            schemas::text(1_024),
            "What to make: a step with its options and a file name, such as \
             `fit/w_320,h_320,q_80/photo.jpg`, and `crop/x_0,y_0,w_100,h_100/` before it if wanted. It \
             holds slashes, which stay as they are.",
        ),
        "version" => {
            (schemas::text(16), "The version of all files together, as the page names it.")
        }
        "file" => (schemas::text(64), "The file's name; it may hold slashes."),
        "again" => (token(), "The same token once more."),
        _ => (
            token(),
            "The token that the upload URL ends with: all the authority that is asked for.",
        ),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

fn token() -> Value {
    json!({ "type": "string", "pattern": "^[0-9A-Za-z_.~-]+$", "maxLength": MAX_TOKEN_CHARS })
}

/// One method of one path.
pub(super) struct Operation {
    json: Map<String, Value>,
    parameters: Vec<Value>,
    responses: BTreeMap<u16, Value>,
    refusals: BTreeMap<u16, Vec<&'static str>>,
    is_tus: bool,
}

impl Operation {
    /// An operation with its unique name, its tag and what it does in a sentence.
    pub(super) fn new(id: &str, tag: &str, summary: &str) -> Self {
        let mut json = Map::new();
        json.insert("operationId".to_owned(), json!(id));
        json.insert("tags".to_owned(), json!([tag]));
        json.insert("summary".to_owned(), json!(summary));
        json.insert("security".to_owned(), json!([]));
        let (parameters, responses, refusals) = Default::default();
        let new = Self { json, parameters, responses, refusals, is_tus: false };
        new.fails(500, &[]).fails(503, &[])
    }

    /// What is to be known beside the summary.
    pub(super) fn describe(mut self, text: &str) -> Self {
        self.json.insert("description".to_owned(), json!(text));
        self
    }

    /// It asks for an API key with a scope.
    pub(super) fn with_key(mut self, scope: &str) -> Self {
        self.parameters.push(json!({ "$ref": "#/components/parameters/siteId" }));
        self.with_key_alone(scope)
    }

    /// [`Operation::with_key`] where the path names the site.
    pub(super) fn with_key_alone(mut self, scope: &str) -> Self {
        self.json.insert("security".to_owned(), json!([{ "apiKey": [] }, { "session": [] }]));
        self.json.insert("x-scope".to_owned(), json!(scope));
        self.fails(401, &["UNAUTHENTICATED"])
            .fails(403, &["PERMISSION_DENIED"])
            .fails(429, &["RESOURCE_EXHAUSTED"])
    }

    /// It is about the session itself.
    pub(super) fn with_session(mut self) -> Self {
        self.json.insert("security".to_owned(), json!([{ "session": [] }]));
        self.fails(401, &["UNAUTHENTICATED"]).fails(403, &["PERMISSION_DENIED"])
    }

    /// The address opens by the token in its query.
    pub(super) fn with_link_token(mut self) -> Self {
        self.json.insert("security".to_owned(), json!([{ "linkToken": [] }]));
        self.fails(403, &["INVALID_LINK"]).fails(404, &["NOT_FOUND"])
    }

    /// A parameter of the query.
    pub(super) fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("query", name, schema, description)
    }

    /// A header of the request.
    pub(super) fn header(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("header", name, schema, description)
    }

    fn parameter(mut self, place: &str, name: &str, schema: Value, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": place, "description": description, "schema": schema,
        }));
        self
    }

    /// A parameter that the text before has described must be there.
    pub(super) fn required(mut self) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            last["required"] = json!(true);
        }
        self
    }

    /// It takes JSON.
    pub(super) fn takes(self, is_required: bool, schema: Value, example: Value) -> Self {
        self.body(
            is_required,
            json!({ "application/json": { "schema": schema, "example": example } }),
        )
        .fails(408, &["REQUEST_INTERRUPTED"])
        .fails(413, &["REQUEST_TOO_LARGE"])
        .fails(400, &["INVALID_ARGUMENT"])
    }

    /// It takes bytes of these media types.
    pub(super) fn body(mut self, is_required: bool, content: Value) -> Self {
        let body = json!({ "required": is_required, "content": content });
        self.json.insert("requestBody".to_owned(), body);
        self
    }

    /// It answers JSON.
    pub(super) fn answers(self, description: &str, schema: Value, example: Value) -> Self {
        let content = json!({ "application/json": { "schema": schema, "example": example } });
        self.responds(200, json!({ "description": description, "content": content }))
    }

    /// It answers in some other way.
    pub(super) fn responds(mut self, status: u16, response: Value) -> Self {
        self.responses.insert(status, response);
        self
    }

    /// It refuses with a status and one of these codes. [`errors::VALIDATION`] is a list of violated fields.
    pub(super) fn fails(mut self, status: u16, codes: Names) -> Self {
        self.refusals.entry(status).or_default().extend(codes);
        self
    }

    /// What it refuses for a value that breaks a rule.
    pub(super) fn validates(self) -> Self {
        self.fails(400, &[errors::VALIDATION])
    }

    /// It speaks the protocol of resumable uploads.
    pub(super) fn tus(mut self) -> Self {
        self.is_tus = true;
        self.header("Tus-Resumable", json!({ "type": "string", "const": "1.0.0" }), "The version.")
            .required()
            .fails(412, &["TUS_VERSION"])
    }

    fn finish(mut self) -> Value {
        for (status, codes) in std::mem::take(&mut self.refusals) {
            let refusal = errors::response(status, &codes);
            self.responses.entry(status).or_insert(refusal);
        }
        let responses: Map<String, Value> = self
            .responses
            .into_iter()
            .map(|(status, response)| (status.to_string(), with_headers(response, self.is_tus)))
            .collect();
        if !self.parameters.is_empty() {
            self.json.insert("parameters".to_owned(), json!(self.parameters));
        }
        self.json.insert("responses".to_owned(), Value::Object(responses));
        Value::Object(self.json)
    }
}

/// Every answer has an id that the log holds as well.
fn with_headers(mut response: Value, is_tus: bool) -> Value {
    response["headers"]["X-Wix-Request-Id"] = json!({ "$ref": "#/components/headers/requestId" });
    if is_tus {
        response["headers"]["Tus-Resumable"] =
            json!({ "$ref": "#/components/headers/tusResumable" });
    }
    response
}

/// A header of an answer.
pub(super) fn header(schema: Value, description: &str) -> Value {
    json!({ "description": description, "schema": schema })
}
