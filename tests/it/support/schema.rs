//! Validates values against the `OpenAPI` description's schemas, with the part of JSON Schema that it
//! uses. An unknown keyword fails the test, so that none goes unchecked.

use regex::Regex;
use serde_json::Value;

/// Keywords that only describe.
const ANNOTATIONS: [&str; 6] =
    ["description", "examples", "default", "format", "contentMediaType", "$ref"];
const ASSERTIONS: [&str; 18] = [
    "type",
    "required",
    "properties",
    "items",
    "enum",
    "const",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "maxProperties",
    "pattern",
    "anyOf",
    "oneOf",
    "allOf",
];

/// Fails if a schema has an unknown keyword.
pub(crate) fn known_keywords(schema: &Value, at: &str) {
    for (keyword, value) in schema.as_object().unwrap() {
        let is_known = ANNOTATIONS.contains(&&**keyword) || ASSERTIONS.contains(&&**keyword);
        assert!(is_known, "{at} has the unknown keyword {keyword}");
        match keyword.as_str() {
            "properties" => {
                value.as_object().unwrap().values().for_each(|one| known_keywords(one, at));
            }
            "items" => known_keywords(value, at),
            "anyOf" | "oneOf" | "allOf" => {
                value.as_array().unwrap().iter().for_each(|one| known_keywords(one, at));
            }
            _ => {}
        }
    }
}

/// The schemas of a description.
pub(crate) struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    pub(crate) fn of(document: &'a Value) -> Self {
        Self(document)
    }

    /// The JSON schema of an operation's response.
    pub(crate) fn response_schema(&self, id: &str, status: u16) -> &'a Value {
        &self.response(id, status)["content"]["application/json"]["schema"]
    }

    /// Whether an operation documents this error code for this status.
    pub(crate) fn documents_error(&self, id: &str, status: u16, code: &Value) -> bool {
        self.response(id, status)["x-codes"].as_array().is_some_and(|codes| codes.contains(code))
    }

    fn response(&self, id: &str, status: u16) -> &'a Value {
        let items = self.0["paths"].as_object().unwrap().values();
        let mut operations = items.flat_map(|item| item.as_object().unwrap().values());
        let operation = operations.find(|operation| operation["operationId"] == id);
        let response = &operation.unwrap()["responses"][status.to_string()];
        assert!(!response.is_null(), "{id} has no documented response {status}");
        response
    }

    /// Fails if a value is invalid.
    pub(crate) fn check(&self, schema: &Value, value: &Value, at: &str) {
        if let Some(problem) = self.problem(schema, value) {
            panic!("{at}: {problem}");
        }
    }

    /// Why a value is invalid.
    pub(crate) fn problem(&self, schema: &Value, value: &Value) -> Option<String> {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.problem(self.0.pointer(&target[1..]).unwrap(), value);
        }
        let keywords = schema.as_object().unwrap();
        keywords.iter().find_map(|(keyword, expected)| {
            let problem = match value {
                Value::Object(_) => self.check_object(keyword, expected, value),
                Value::Array(items) => self.check_array(keyword, expected, items),
                Value::String(text) => check_string(keyword, expected, text),
                Value::Number(number) => check_number(keyword, expected, number.as_f64().unwrap()),
                _ => None,
            };
            problem
                .or_else(|| self.check_any(keyword, expected, value))
                .map(|problem| format!("{keyword} {expected}: {problem}"))
        })
    }

    fn check_any(&self, keyword: &str, expected: &Value, value: &Value) -> Option<String> {
        let matching = || {
            let schemas = expected.as_array().unwrap().iter();
            schemas.filter(|schema| self.problem(schema, value).is_none()).count()
        };
        let holds = match keyword {
            "type" => match expected {
                Value::Array(types) => types.iter().any(|one| has_type(one, value)),
                one => has_type(one, value),
            },
            "enum" => expected.as_array().unwrap().contains(value),
            "const" => expected == value,
            "anyOf" => matching() > 0,
            "oneOf" => matching() == 1,
            "allOf" => matching() == expected.as_array().unwrap().len(),
            _ => true,
        };
        (!holds).then(|| value.to_string())
    }

    fn check_object(&self, keyword: &str, expected: &Value, value: &Value) -> Option<String> {
        let fields = value.as_object()?;
        match keyword {
            "required" => {
                let mut names = expected.as_array().unwrap().iter();
                let missing = names.find(|name| !fields.contains_key(name.as_str().unwrap()))?;
                Some(format!("{missing} is missing"))
            }
            "properties" => expected.as_object().unwrap().iter().find_map(|(name, schema)| {
                let problem = self.problem(schema, fields.get(name)?)?;
                Some(format!("{name}: {problem}"))
            }),
            "maxProperties" => (fields.len() as u64 > expected.as_u64().unwrap())
                .then(|| format!("{} properties", fields.len())),
            _ => None,
        }
    }

    fn check_array(&self, keyword: &str, expected: &Value, items: &[Value]) -> Option<String> {
        let holds = match keyword {
            "items" => return items.iter().find_map(|item| self.problem(expected, item)),
            "minItems" => items.len() as u64 >= expected.as_u64().unwrap(),
            "maxItems" => items.len() as u64 <= expected.as_u64().unwrap(),
            "uniqueItems" => {
                items.iter().enumerate().all(|(number, item)| !items[..number].contains(item))
            }
            _ => true,
        };
        (!holds).then(|| format!("{} items", items.len()))
    }
}

fn check_string(keyword: &str, expected: &Value, text: &str) -> Option<String> {
    let length = text.chars().count() as u64;
    let holds = match keyword {
        "minLength" => length >= expected.as_u64().unwrap(),
        "maxLength" => length <= expected.as_u64().unwrap(),
        "pattern" => Regex::new(expected.as_str().unwrap()).unwrap().is_match(text),
        _ => true,
    };
    (!holds).then(|| text.to_owned())
}

fn check_number(keyword: &str, expected: &Value, number: f64) -> Option<String> {
    let holds = match keyword {
        "minimum" => number >= expected.as_f64().unwrap(),
        "maximum" => number <= expected.as_f64().unwrap(),
        _ => true,
    };
    (!holds).then(|| number.to_string())
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}
