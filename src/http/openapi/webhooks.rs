//! Webhooks and their deliveries.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, EVENT, guid, list, named, object, time, whole_or};
use crate::db::DeliveryState;
use crate::domain::paging::MAX_LIMIT;
use crate::domain::scope::MODIFY;
use crate::http::webhooks_request::MOST_REPLAYED;

/// Describes them.
pub(super) fn describe(paths: &mut Paths) {
    let one = "/dossier/v1/webhooks/{webhook}";
    let at = |end: &str| format!("{one}{end}");
    paths.add("get", "/dossier/v1/webhooks", webhooks());
    paths.add("post", "/dossier/v1/webhooks", add());
    paths.add("get", "/dossier/v1/webhooks/public-key", public_key());
    paths.add("get", one, answers_webhook(of_one("getWebhook", "Gets a webhook")));
    paths.add("patch", one, change());
    paths.add("delete", one, remove());
    paths.add("post", &at("/test"), test());
    paths.add("get", &at("/deliveries"), deliveries());
    paths.add("post", &at("/replay"), replay());
}

fn operation(id: &str, summary: &str) -> Operation {
    Operation::new(id, "webhooks", summary).with_key(MODIFY)
}

fn of_one(id: &str, summary: &str) -> Operation {
    operation(id, summary).validates().fails(400, &["INVALID_ARGUMENT"]).fails(404, &["NOT_FOUND"])
}

fn answers_webhook(operation: Operation) -> Operation {
    let shape = object(json!({ "webhook": named("Webhook") }));
    operation.answers("The webhook.", shape, json!({ "webhook": schemas::webhook_example() }))
}

fn webhooks() -> Operation {
    operation("listWebhooks", "Lists the webhooks of the site").answers(
        "All of them.",
        object(json!({ "webhooks": list(named("Webhook")) })),
        json!({ "webhooks": [schemas::webhook_example()] }),
    )
}

fn add() -> Operation {
    let new = json!({ "allOf": [named("WebhookChange"), {
        "type": "object", "required": ["url"], "properties": { "url": { "type": "string" } },
    }] });
    let operation = operation("addWebhook", "Tells a URL of events from now on").validates().takes(
        true,
        new,
        json!({ "url": "https://crm.example.net/files" }),
    );
    answers_webhook(operation)
}

fn change() -> Operation {
    let operation = of_one("changeWebhook", "Changes what stands in the body").takes(
        true,
        named("WebhookChange"),
        json!({ "enabled": false }),
    );
    answers_webhook(operation)
}

fn remove() -> Operation {
    of_one("removeWebhook", "Tells a webhook of nothing more").answers(
        "It is told no more.",
        schemas::empty(),
        json!({}),
    )
}

fn test() -> Operation {
    of_one("testWebhook", "Tells a webhook once of something made up").answers(
        "What came of that; null when the event is not known any more.",
        object(json!({ "delivery": { "anyOf": [named("Delivery"), { "type": "null" }] } })),
        json!({ "delivery": schemas::delivery_example() }),
    )
}

fn deliveries() -> Operation {
    let states: Vec<&str> = DeliveryState::ALL.into_iter().map(DeliveryState::as_str).collect();
    let state = json!({ "type": "string", "enum": states });
    of_one("listDeliveries", "Lists what a webhook was told, the newest event first")
        .query("state", state, "Only those in this state.")
        .query("before", guid(), "The last event's id of the page before.")
        .query("limit", whole_or(0, MAX_LIMIT.into(), MAX_LIMIT.into()), "Most of the answer.")
        .answers(
            "A page.",
            object(json!({ "deliveries": list(named("Delivery")) })),
            json!({ "deliveries": [schemas::delivery_example()] }),
        )
}

fn replay() -> Operation {
    let ids = json!({ "type": "array", "items": guid(), "maxItems": MOST_REPLAYED });
    let either: Value = json!({ "oneOf": [
        object(json!({ "eventIds": ids })),
        object(json!({ "since": time() })),
    ] });
    let count = json!({ "type": "integer", "minimum": 0 });
    of_one("replayEvents", "Tells a webhook again, with the same event ids")
        .takes(true, either, json!({ "eventIds": [EVENT] }))
        .answers(
            "How many will be told.",
            object(json!({ "replayed": count })),
            json!({ "replayed": 1 }),
        )
}

fn public_key() -> Operation {
    Operation::new("getPublicKeys", "webhooks", "Shows what receivers check tokens with")
        .describe("Also a JSON Web Key Set (RFC 7517).")
        .answers("The keys.", named("PublicKeys"), schemas::public_keys_example())
        .fails(404, &["NOT_FOUND"])
}
