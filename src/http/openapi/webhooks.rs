//! Webhook subscriptions and their deliveries.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, EVENT, guid, integer_or, list, object, schema_ref, time};
use crate::db::DeliveryState;
use crate::domain::paging::MAX_LIMIT;
use crate::domain::scope::MODIFY;
use crate::http::webhooks_request::MAX_REPLAYED;

/// Adds these operations.
pub(super) fn describe(paths: &mut Paths) {
    let one = "/dossier/v1/webhooks/{webhook}";
    let at = |end: &str| format!("{one}{end}");
    paths.add("get", "/dossier/v1/webhooks", webhooks());
    paths.add("post", "/dossier/v1/webhooks", add());
    paths.add("get", "/dossier/v1/webhooks/public-key", public_key());
    paths.add("get", one, returns_webhook(on_webhook("getWebhook", "Gets a webhook")));
    paths.add("patch", one, change());
    paths.add("delete", one, remove());
    paths.add("post", &at("/test"), test());
    paths.add("get", &at("/deliveries"), deliveries());
    paths.add("post", &at("/replay"), replay());
}

fn operation(id: &str, summary: &str) -> Operation {
    Operation::new(id, "webhooks", summary).with_key(MODIFY)
}

fn on_webhook(id: &str, summary: &str) -> Operation {
    operation(id, summary).validates().fails(400, &["INVALID_ARGUMENT"]).fails(404, &["NOT_FOUND"])
}

fn returns_webhook(operation: Operation) -> Operation {
    let shape = object(json!({ "webhook": schema_ref("Webhook") }));
    operation.returns_json("The webhook.", shape, json!({ "webhook": schemas::webhook_example() }))
}

fn webhooks() -> Operation {
    operation("listWebhooks", "Lists the webhooks of the site").returns_json(
        "The webhooks.",
        object(json!({ "webhooks": list(schema_ref("Webhook")) })),
        json!({ "webhooks": [schemas::webhook_example()] }),
    )
}

fn add() -> Operation {
    let new = json!({ "allOf": [schema_ref("WebhookChange"), {
        "type": "object", "required": ["url"], "properties": { "url": { "type": "string" } },
    }] });
    let operation = operation("addWebhook", "Subscribes a URL to events").validates().accepts_json(
        true,
        new,
        json!({ "url": "https://crm.example.net/files" }),
    );
    returns_webhook(operation)
}

fn change() -> Operation {
    let operation = on_webhook("changeWebhook", "Changes a webhook's fields in the body")
        .accepts_json(true, schema_ref("WebhookChange"), json!({ "enabled": false }));
    returns_webhook(operation)
}

fn remove() -> Operation {
    on_webhook("removeWebhook", "Removes a webhook").returns_json(
        "The webhook was removed.",
        schemas::empty(),
        json!({}),
    )
}

fn test() -> Operation {
    on_webhook("testWebhook", "Sends a test event to a webhook").returns_json(
        "The delivery's outcome; null if the event no longer exists.",
        object(json!({ "delivery": { "anyOf": [schema_ref("Delivery"), { "type": "null" }] } })),
        json!({ "delivery": schemas::delivery_example() }),
    )
}

fn deliveries() -> Operation {
    let states: Vec<&str> = DeliveryState::ALL.into_iter().map(DeliveryState::as_str).collect();
    let state = json!({ "type": "string", "enum": states });
    on_webhook("listDeliveries", "Lists a webhook's deliveries, newest event first")
        .query("state", state, "Only deliveries in this state.")
        .query("before", guid(), "The id of the previous page's last event.")
        .query(
            "limit",
            integer_or(0, MAX_LIMIT.into(), MAX_LIMIT.into()),
            "The most deliveries to return.",
        )
        .returns_json(
            "A page.",
            object(json!({ "deliveries": list(schema_ref("Delivery")) })),
            json!({ "deliveries": [schemas::delivery_example()] }),
        )
}

fn replay() -> Operation {
    let ids = json!({ "type": "array", "items": guid(), "maxItems": MAX_REPLAYED });
    let either: Value = json!({ "oneOf": [
        object(json!({ "eventIds": ids })),
        object(json!({ "since": time() })),
    ] });
    let count = json!({ "type": "integer", "minimum": 0 });
    on_webhook("replayEvents", "Replays events to a webhook, with the same event ids")
        .accepts_json(true, either, json!({ "eventIds": [EVENT] }))
        .returns_json(
            "The number of events to be delivered again.",
            object(json!({ "replayed": count })),
            json!({ "replayed": 1 }),
        )
}

fn public_key() -> Operation {
    Operation::new("getPublicKeys", "webhooks", "Gets the keys with which receivers verify tokens")
        .describe("The response is also a JSON Web Key Set (RFC 7517).")
        .returns_json("The keys.", schema_ref("PublicKeys"), schemas::public_keys_example())
        .fails(404, &["NOT_FOUND"])
}
