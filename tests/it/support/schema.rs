//! Holds values against the schemas of a description: the part of JSON Schema that it uses. A keyword that
//! is not known here fails the test that finds it, so that none goes unchecked.

use regex::Regex;
use serde_json::Value;

/// Keywords that say something to people alone.
const WORDS: [&str; 6] =
    ["description", "examples", "default", "format", "contentMediaType", "$ref"];
const CHECKED: [&str; 18] = [
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

/// Fails for a schema with a keyword that is not known.
pub(crate) fn known_keywords(schema: &Value, at: &str) {
    for (keyword, value) in schema.as_object().unwrap() {
        let is_known = WORDS.contains(&&**keyword) || CHECKED.contains(&&**keyword);
        assert!(is_known, "{at} has a keyword {keyword}");
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

    /// The schema of an operation's JSON with a status.
    pub(crate) fn answer(&self, id: &str, status: u16) -> &'a Value {
        &self.response(id, status)["content"]["application/json"]["schema"]
    }

    /// Whether an operation may refuse with a code and a status.
    pub(crate) fn may_refuse(&self, id: &str, status: u16, code: &Value) -> bool {
        self.response(id, status)["x-codes"].as_array().is_some_and(|codes| codes.contains(code))
    }

    fn response(&self, id: &str, status: u16) -> &'a Value {
        let items = self.0["paths"].as_object().unwrap().values();
        let mut operations = items.flat_map(|item| item.as_object().unwrap().values());
        let operation = operations.find(|operation| operation["operationId"] == id);
        let response = &operation.unwrap()["responses"][status.to_string()];
        assert!(!response.is_null(), "{id} is not described with {status}");
        response
    }

    /// Fails for a value that is not valid.
    pub(crate) fn check(&self, schema: &Value, value: &Value, at: &str) {
        if let Some(problem) = self.problem(schema, value) {
            panic!("{at}: {problem}");
        }
    }

    /// Why a value is not valid.
    pub(crate) fn problem(&self, schema: &Value, value: &Value) -> Option<String> {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.problem(self.0.pointer(&target[1..]).unwrap(), value);
        }
        let keywords = schema.as_object().unwrap();
        keywords.iter().find_map(|(keyword, wanted)| {
            let problem = match value {
                Value::Object(_) => self.of_object(keyword, wanted, value),
                Value::Array(items) => self.of_array(keyword, wanted, items),
                Value::String(text) => of_text(keyword, wanted, text),
                Value::Number(number) => of_number(keyword, wanted, number.as_f64().unwrap()),
                _ => None,
            };
            problem
                .or_else(|| self.of_any(keyword, wanted, value))
                .map(|problem| format!("{keyword} {wanted}: {problem}"))
        })
    }

    fn of_any(&self, keyword: &str, wanted: &Value, value: &Value) -> Option<String> {
        let fitting = || {
            let schemas = wanted.as_array().unwrap().iter();
            schemas.filter(|schema| self.problem(schema, value).is_none()).count()
        };
        let holds = match keyword {
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|one| is_of(one, value)),
                one => is_of(one, value),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "anyOf" => fitting() > 0,
            "oneOf" => fitting() == 1,
            "allOf" => fitting() == wanted.as_array().unwrap().len(),
            _ => true,
        };
        (!holds).then(|| value.to_string())
    }

    fn of_object(&self, keyword: &str, wanted: &Value, value: &Value) -> Option<String> {
        let fields = value.as_object()?;
        match keyword {
            "required" => {
                let mut names = wanted.as_array().unwrap().iter();
                let missing = names.find(|name| !fields.contains_key(name.as_str().unwrap()))?;
                Some(format!("{missing} is missing"))
            }
            "properties" => wanted.as_object().unwrap().iter().find_map(|(name, schema)| {
                let problem = self.problem(schema, fields.get(name)?)?;
                Some(format!("{name}: {problem}"))
            }),
            "maxProperties" => (fields.len() as u64 > wanted.as_u64().unwrap())
                .then(|| format!("it has {}", fields.len())),
            _ => None,
        }
    }

    fn of_array(&self, keyword: &str, wanted: &Value, items: &[Value]) -> Option<String> {
        let holds = match keyword {
            "items" => return items.iter().find_map(|item| self.problem(wanted, item)),
            "minItems" => items.len() as u64 >= wanted.as_u64().unwrap(),
            "maxItems" => items.len() as u64 <= wanted.as_u64().unwrap(),
            "uniqueItems" => {
                items.iter().enumerate().all(|(number, item)| !items[..number].contains(item))
            }
            _ => true,
        };
        (!holds).then(|| format!("{} items", items.len()))
    }
}

fn of_text(keyword: &str, wanted: &Value, text: &str) -> Option<String> {
    let length = text.chars().count() as u64;
    let holds = match keyword {
        "minLength" => length >= wanted.as_u64().unwrap(),
        "maxLength" => length <= wanted.as_u64().unwrap(),
        "pattern" => Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text),
        _ => true,
    };
    (!holds).then(|| text.to_owned())
}

fn of_number(keyword: &str, wanted: &Value, number: f64) -> Option<String> {
    let holds = match keyword {
        "minimum" => number >= wanted.as_f64().unwrap(),
        "maximum" => number <= wanted.as_f64().unwrap(),
        _ => true,
    };
    (!holds).then(|| number.to_string())
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    }
}
