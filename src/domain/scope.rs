//! What an API key may do: the vendor's permission ids (contract §1), and one of ours for those who
//! administer a site.

use std::fmt;

/// Reading: list and get.
pub const VIEW: &str = "CONTACTS_ATTACHMENTS.VIEW";
/// Changing: generate an upload URL and delete.
pub const MODIFY: &str = "CONTACTS_ATTACHMENTS.MODIFY";
/// Administering: keys, and how the server does. Whoever may that may everything else.
pub const ADMIN: &str = "DOSSIER.ADMIN";

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// [`VIEW`].
    View,
    /// [`MODIFY`].
    Modify,
    /// [`ADMIN`].
    Admin,
}

const EACH: [Scope; 3] = [Scope::View, Scope::Modify, Scope::Admin];

impl Scope {
    /// The id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => VIEW,
            Self::Modify => MODIFY,
            Self::Admin => ADMIN,
        }
    }

    /// The last word of the id.
    fn short(self) -> &'static str {
        self.as_str().rsplit('.').next().unwrap_or_default()
    }

    /// Reads the id, or its last word, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        EACH.into_iter().find(|scope| {
            text.eq_ignore_ascii_case(scope.as_str()) || text.eq_ignore_ascii_case(scope.short())
        })
    }
}

/// What the page calls a set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May read.
    Viewer,
    /// May read and change.
    Editor,
    /// May do everything.
    Admin,
}

impl Role {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    view: bool,
    modify: bool,
    admin: bool,
}

impl Scopes {
    /// Every permission.
    pub const ALL: Self = Self { view: true, modify: true, admin: true };

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
                Scope::Admin => scopes = Self::ALL,
            }
        }
        Ok(scopes)
    }

    /// As they are stored: [`Scopes::of_contract`], and whether [`Scopes::is_admin`]. A text of another
    /// release that cannot be read allows nothing.
    pub fn stored(of_contract: &str, is_admin: bool) -> Self {
        if is_admin { Self::ALL } else { Self::parse(of_contract).unwrap_or_default() }
    }

    /// The vendor's ids alone, which every release reads.
    pub fn of_contract(self) -> String {
        Self { admin: false, ..self }.to_string()
    }

    /// Whether [`ADMIN`] is in the set.
    pub fn is_admin(self) -> bool {
        self.admin
    }

    /// What the page calls it; `None` for a set without reading, for which there is nothing to see.
    pub fn role(self) -> Option<Role> {
        match self {
            Self { admin: true, .. } => Some(Role::Admin),
            Self { view: true, modify: true, .. } => Some(Role::Editor),
            Self { view: true, .. } => Some(Role::Viewer),
            Self { .. } => None,
        }
    }

    /// Whether a permission is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        match scope {
            Scope::View => self.view,
            Scope::Modify => self.modify,
            Scope::Admin => self.admin,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The last words of the ids, with commas.
    pub fn short(self) -> String {
        self.held().map(Scope::short).collect::<Vec<_>>().join(",")
    }

    fn held(self) -> impl Iterator<Item = Scope> {
        EACH.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.held().map(Scope::as_str).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_as_they_print() {
        let both = format!("{VIEW} {MODIFY}");
        for text in ["", VIEW, MODIFY, &both, &format!("{both} {ADMIN}")] {
            assert_eq!(Scopes::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn short_names_and_commas_are_understood_and_unknown_ones_named() {
        assert_eq!(Scopes::parse("view,MODIFY").unwrap().short(), "VIEW,MODIFY");
        assert_eq!(Scopes::parse("view,delete"), Err("delete".to_owned()));
    }

    #[test]
    fn who_administers_may_everything_and_older_releases_read_the_rest() {
        let admin = Scopes::parse("admin").unwrap();
        assert_eq!(admin, Scopes::ALL);
        assert_eq!(admin.of_contract(), format!("{VIEW} {MODIFY}"));
        assert_eq!(Scopes::stored(&admin.of_contract(), true), admin);
        assert!(!Scopes::stored(&admin.of_contract(), false).is_admin());
        assert!(Scopes::stored("of the future", false).is_empty());
    }

    #[test]
    fn each_set_that_can_read_has_a_role() {
        for (scopes, role) in [
            ("VIEW", Some(Role::Viewer)),
            ("VIEW,MODIFY", Some(Role::Editor)),
            ("ADMIN", Some(Role::Admin)),
            ("MODIFY", None),
            ("", None),
        ] {
            assert_eq!(Scopes::parse(scopes).unwrap().role(), role, "{scopes}");
        }
    }
}
