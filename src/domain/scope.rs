//! What an API key may do: the vendor's permission ids (contract §1).

use std::fmt;

/// Reading: list and get.
pub const VIEW: &str = "CONTACTS_ATTACHMENTS.VIEW";
/// Changing: generate an upload URL and delete.
pub const MODIFY: &str = "CONTACTS_ATTACHMENTS.MODIFY";

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// [`VIEW`].
    View,
    /// [`MODIFY`].
    Modify,
}

impl Scope {
    /// The vendor's id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => VIEW,
            Self::Modify => MODIFY,
        }
    }

    /// Reads the vendor's id, or its last word, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::View, Self::Modify].into_iter().find(|scope| {
            let short = scope.as_str().rsplit('.').next().unwrap_or_default();
            text.eq_ignore_ascii_case(scope.as_str()) || text.eq_ignore_ascii_case(short)
        })
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    view: bool,
    modify: bool,
}

impl Scopes {
    /// Every permission.
    pub const ALL: Self = Self { view: true, modify: true };

    /// Reads ids separated by blanks or commas; `Err` holds the one that is unknown.
    ///
    /// # Errors
    ///
    /// The first unknown id.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scopes = Self::default();
        for id in text.split([' ', ',']).filter(|id| !id.is_empty()) {
            match Scope::parse(id).ok_or_else(|| id.to_owned())? {
                Scope::View => scopes.view = true,
                Scope::Modify => scopes.modify = true,
            }
        }
        Ok(scopes)
    }

    /// Whether a permission is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        match scope {
            Scope::View => self.view,
            Scope::Modify => self.modify,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = [Scope::View, Scope::Modify].into_iter().filter(|scope| self.contains(*scope));
        let ids: Vec<&str> = held.map(Scope::as_str).collect();
        f.write_str(&ids.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_as_they_print() {
        for text in ["", VIEW, MODIFY, "CONTACTS_ATTACHMENTS.VIEW CONTACTS_ATTACHMENTS.MODIFY"] {
            assert_eq!(Scopes::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn short_names_and_commas_are_understood_and_unknown_ones_named() {
        assert_eq!(Scopes::parse("view,MODIFY"), Ok(Scopes::ALL));
        assert_eq!(Scopes::parse("view,delete"), Err("delete".to_owned()));
    }
}
