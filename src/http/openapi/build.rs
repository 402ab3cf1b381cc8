//! Builds the description: the operations of paths, their parameters, bodies and responses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::errors;
use super::schemas;

/// A list of error codes.
pub(super) type Codes = &'static [&'static str];

/// No token is longer; a request's head has its own limit.
const MAX_TOKEN_CHARS: usize = 8_192;

/// The paths of the description.
#[derive(Default)]
pub(super) struct Paths(BTreeMap<String, Map<String, Value>>);

impl Paths {
    /// Adds a method of a path. The path has the router's syntax.
    pub(super) fn add(&mut self, method: &str, route: &str, operation: Operation) {
        let names: Vec<&str> =
            route.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let path = names.iter().fold(route.to_owned(), |path, name| {
            path.replace(&format!("{{{name}}}"), &format!("{{{}}}", published_name(name)))
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

    /// Sets the servers of a path that has a listener of its own.
    pub(super) fn set_servers(&mut self, route: &str, servers: Value) {
        if let Some(item) = self.0.get_mut(route) {
            item.insert("servers".to_owned(), servers);
        }
    }

    /// The `paths` object.
    pub(super) fn finish(self) -> Value {
        self.0.into_iter().map(|(path, item)| (path, Value::Object(item))).collect()
    }
}

/// The published name of a path parameter.
fn published_name(name: &str) -> &str {
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
    let name = published_name(name);
    let (schema, description) = match name {
        "contactId" => (schemas::guid(), "The contact."),
        "attachmentId" => (schemas::guid(), "The attachment."),
        "webhookId" => (schemas::guid(), "The webhook."),
        "receiptId" => (schemas::guid(), "The receipt of an erasure."),
        "keyId" => (schemas::guid(), "The API key, by its id."),
        "siteId" => (schemas::guid(), "The site."),
        "uploadId" => (schemas::text(64), "The resumable upload's id, from its `Location`."),
        "mediaId" => (schemas::media_id(), "The media id, as links contain it."),
        "transform" => (
            schemas::text(1_024),
            "The transform: a step with its options and a file name, such as \
             `fit/w_320,h_320,q_80/photo.jpg`, optionally after `crop/x_0,y_0,w_100,h_100/`. Its \
             slashes are not percent-encoded.",
        ),
        "version" => (schemas::text(16), "The version of the page's files, from its HTML."),
        "file" => (schemas::text(64), "The file's name, which may contain slashes."),
        "again" => (token(), "The same token again."),
        _ => (token(), "The token that ends the upload URL. It is the only credential."),
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
    errors_by_status: BTreeMap<u16, Vec<&'static str>>,
    is_tus: bool,
}

impl Operation {
    /// An operation with its unique id, its tag and a one-sentence summary.
    pub(super) fn new(id: &str, tag: &str, summary: &str) -> Self {
        let mut json = Map::new();
        json.insert("operationId".to_owned(), json!(id));
        json.insert("tags".to_owned(), json!([tag]));
        json.insert("summary".to_owned(), json!(summary));
        json.insert("security".to_owned(), json!([]));
        let (parameters, responses, errors_by_status) = Default::default();
        let new = Self { json, parameters, responses, errors_by_status, is_tus: false };
        new.fails(500, &[]).fails(503, &[])
    }

    /// Adds details beyond the summary.
    pub(super) fn describe(mut self, text: &str) -> Self {
        self.json.insert("description".to_owned(), json!(text));
        self
    }

    /// Requires an API key or session with a scope.
    pub(super) fn with_key(mut self, scope: &str) -> Self {
        self.parameters.push(json!({ "$ref": "#/components/parameters/siteId" }));
        self.with_key_only(scope)
    }

    /// [`Operation::with_key`] where the path names the site.
    pub(super) fn with_key_only(mut self, scope: &str) -> Self {
        self.json.insert("security".to_owned(), json!([{ "apiKey": [] }, { "session": [] }]));
        self.json.insert("x-scope".to_owned(), json!(scope));
        self.fails(401, &["UNAUTHENTICATED"])
            .fails(403, &["PERMISSION_DENIED"])
            .fails(429, &["RESOURCE_EXHAUSTED"])
    }

    /// Requires a session.
    pub(super) fn with_session(mut self) -> Self {
        self.json.insert("security".to_owned(), json!([{ "session": [] }]));
        self.fails(401, &["UNAUTHENTICATED"]).fails(403, &["PERMISSION_DENIED"])
    }

    /// Requires the link's token in the query.
    pub(super) fn with_link_token(mut self) -> Self {
        self.json.insert("security".to_owned(), json!([{ "linkToken": [] }]));
        self.fails(403, &["INVALID_LINK"]).fails(404, &["NOT_FOUND"])
    }

    /// Adds a query parameter.
    pub(super) fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("query", name, schema, description)
    }

    /// Adds a request header.
    pub(super) fn header(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("header", name, schema, description)
    }

    fn parameter(mut self, location: &str, name: &str, schema: Value, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": location, "description": description, "schema": schema,
        }));
        self
    }

    /// Makes the parameter added last required.
    pub(super) fn required(mut self) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            last["required"] = json!(true);
        }
        self
    }

    /// Adds a JSON request body.
    pub(super) fn accepts_json(self, is_required: bool, schema: Value, example: Value) -> Self {
        self.body(
            is_required,
            json!({ "application/json": { "schema": schema, "example": example } }),
        )
        .fails(408, &["REQUEST_INTERRUPTED"])
        .fails(413, &["REQUEST_TOO_LARGE"])
        .fails(400, &["INVALID_ARGUMENT"])
    }

    /// Adds a request body with the given content by media type.
    pub(super) fn body(mut self, is_required: bool, content: Value) -> Self {
        let body = json!({ "required": is_required, "content": content });
        self.json.insert("requestBody".to_owned(), body);
        self
    }

    /// Adds a JSON response with status 200.
    pub(super) fn returns_json(self, description: &str, schema: Value, example: Value) -> Self {
        let content = json!({ "application/json": { "schema": schema, "example": example } });
        self.responds(200, json!({ "description": description, "content": content }))
    }

    /// Adds any response.
    pub(super) fn responds(mut self, status: u16, response: Value) -> Self {
        self.responses.insert(status, response);
        self
    }

    /// Adds an error status with its codes. [`errors::VALIDATION`] stands for a list of violated
    /// fields.
    pub(super) fn fails(mut self, status: u16, codes: Codes) -> Self {
        self.errors_by_status.entry(status).or_default().extend(codes);
        self
    }

    /// Adds the error for values that break a rule.
    pub(super) fn validates(self) -> Self {
        self.fails(400, &[errors::VALIDATION])
    }

    /// Marks an operation of the tus protocol.
    pub(super) fn tus(mut self) -> Self {
        self.is_tus = true;
        self.header(
            "Tus-Resumable",
            json!({ "type": "string", "const": "1.0.0" }),
            "The protocol version.",
        )
        .required()
        .fails(412, &["TUS_VERSION"])
    }

    fn finish(mut self) -> Value {
        for (status, codes) in std::mem::take(&mut self.errors_by_status) {
            let error = errors::response(status, &codes);
            self.responses.entry(status).or_insert(error);
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

/// Adds the headers of every response.
fn with_headers(mut response: Value, is_tus: bool) -> Value {
    response["headers"]["X-Wix-Request-Id"] = json!({ "$ref": "#/components/headers/requestId" });
    if is_tus {
        response["headers"]["Tus-Resumable"] =
            json!({ "$ref": "#/components/headers/tusResumable" });
    }
    response
}

/// A response header.
pub(super) fn header(schema: Value, description: &str) -> Value {
    json!({ "description": description, "schema": schema })
}
