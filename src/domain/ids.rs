//! Ids as types, so that a contact's id can never stand where a site's is wanted.

use std::fmt;

use uuid::Uuid;

/// Reads a GUID as the contract writes it: 36 characters with hyphens, either case
/// (contract §3).
pub fn parse_guid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads 36 characters with hyphens, either case (contract §3).
            pub fn parse(text: &str) -> Option<Self> {
                parse_guid(text).map(Self)
            }

            /// The 16 bytes, as stored.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the 16 stored bytes.
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
    /// The tenant. Every row, blob, key and link belongs to exactly one.
    SiteId
}
id_type! {
    /// A person of a site.
    ContactId
}
id_type! {
    /// One file of one contact; `UUIDv7`, made when its upload URL is.
    AttachmentId
}
id_type! {
    /// Stored bytes; a fresh one for every attempt to upload.
    BlobId
}
id_type! {
    /// Who is told of events.
    SubscriptionId
}
id_type! {
    /// Something that happened; `UUIDv7`. Receivers know by it what they were told before.
    EventId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_36_characters_and_any_case() {
        let id = ContactId::parse("513C1BFC-61B6-427D-A7F8-CEEEDB1EB763").unwrap();
        assert_eq!(id.to_string(), "513c1bfc-61b6-427d-a7f8-ceeedb1eb763");
    }

    #[test]
    fn other_spellings_of_a_guid_are_refused() {
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
