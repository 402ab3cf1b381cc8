//! Id newtypes, so that a contact's id cannot be passed where a site's is expected.

use std::fmt;

use uuid::Uuid;

/// Parses a GUID in the contract's form: 36 characters with hyphens, either case (contract §3).
pub fn parse_guid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Parses 36 characters with hyphens, either case (contract §3).
            pub fn parse(text: &str) -> Option<Self> {
                parse_guid(text).map(Self)
            }

            /// The 16 stored bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id with these 16 stored bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id_type! {
    /// A tenant. Every row, blob, key and link belongs to exactly one.
    SiteId
}
id_type! {
    /// A contact of a site.
    ContactId
}
id_type! {
    /// A file of a contact; `UUIDv7`, generated together with its upload URL.
    AttachmentId
}
id_type! {
    /// Stored bytes; every upload attempt gets a new id.
    BlobId
}
id_type! {
    /// A subscription of a webhook receiver.
    SubscriptionId
}
id_type! {
    /// An event; `UUIDv7`. Receivers use it to detect duplicate deliveries.
    EventId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_36_characters_of_either_case() {
        let id = ContactId::parse("513C1BFC-61B6-427D-A7F8-CEEEDB1EB763").unwrap();
        assert_eq!(id.to_string(), "513c1bfc-61b6-427d-a7f8-ceeedb1eb763");
    }

    #[test]
    fn other_spellings_of_a_guid_are_rejected() {
        for text in [
            "",
            "undefined",
            "513c1bfc61b6427da7f8ceeedb1eb763",
            "{513c1bfc-61b6-427d-a7f8-ceeedb1eb763}",
            "urn:uuid:513c1bfc-61b6-427d-a7f8-ceeedb1eb763",
            "513c1bfc-61b6-427d-a7f8-ceeedb1eb76g",
            "513c1bfc-61b6-427d-a7f8-ceeedb1eb763 ",
        ] {
            assert_eq!(ContactId::parse(text), None, "{text}");
        }
    }
}
