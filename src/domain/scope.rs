//! Permissions of an API key: the vendor's permission ids (contract §1), and one of ours for
//! administering a site.

use std::fmt;

/// Permission to list and get.
pub const VIEW: &str = "CONTACTS_ATTACHMENTS.VIEW";
/// Permission to generate upload URLs and to delete.
pub const MODIFY: &str = "CONTACTS_ATTACHMENTS.MODIFY";
/// Permission to administer keys and see the server's state. It includes every other permission.
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
    /// The permission's id.
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

    /// Parses the id or its last word, ignoring case.
    pub fn parse(text: &str) -> Option<Self> {
        EACH.into_iter().find(|scope| {
            text.eq_ignore_ascii_case(scope.as_str()) || text.eq_ignore_ascii_case(scope.short())
        })
    }
}

/// The page's name for a set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Is read-only.
    Viewer,
    /// May read and modify.
    Editor,
    /// Has every permission.
    Admin,
}

impl Role {
    /// The role's name in JSON.
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

    /// Parses ids separated by spaces or commas.
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

    /// The set from its stored form, [`Scopes::contract_ids`] and [`Scopes::is_admin`]. Text of
    /// another release that cannot be parsed grants nothing.
    pub fn from_stored(contract_ids: &str, is_admin: bool) -> Self {
        if is_admin { Self::ALL } else { Self::parse(contract_ids).unwrap_or_default() }
    }

    /// The vendor's ids alone, which every release can parse.
    pub fn contract_ids(self) -> String {
        Self { admin: false, ..self }.to_string()
    }

    /// Whether the set contains [`ADMIN`].
    pub fn is_admin(self) -> bool {
        self.admin
    }

    /// The set's role on the page; `None` without [`VIEW`], since there is nothing to show.
    pub fn role(self) -> Option<Role> {
        match self {
            Self { admin: true, .. } => Some(Role::Admin),
            Self { view: true, modify: true, .. } => Some(Role::Editor),
            Self { view: true, .. } => Some(Role::Viewer),
            Self { .. } => None,
        }
    }

    /// Whether the set contains a permission.
    pub fn contains(self, scope: Scope) -> bool {
        match scope {
            Scope::View => self.view,
            Scope::Modify => self.modify,
            Scope::Admin => self.admin,
        }
    }

    /// Whether the set grants nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The last words of the ids, separated by commas.
    pub fn short(self) -> String {
        self.iter().map(Scope::short).collect::<Vec<_>>().join(",")
    }

    fn iter(self) -> impl Iterator<Item = Scope> {
        EACH.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::as_str).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_round_trip() {
        let both = format!("{VIEW} {MODIFY}");
        for text in ["", VIEW, MODIFY, &both, &format!("{both} {ADMIN}")] {
            assert_eq!(Scopes::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn short_names_and_commas_are_parsed_and_unknown_names_reported() {
        assert_eq!(Scopes::parse("view,MODIFY").unwrap().short(), "VIEW,MODIFY");
        assert_eq!(Scopes::parse("view,delete"), Err("delete".to_owned()));
    }

    #[test]
    fn admin_includes_every_permission_and_older_releases_parse_the_rest() {
        let admin = Scopes::parse("admin").unwrap();
        assert_eq!(admin, Scopes::ALL);
        assert_eq!(admin.contract_ids(), format!("{VIEW} {MODIFY}"));
        assert_eq!(Scopes::from_stored(&admin.contract_ids(), true), admin);
        assert!(!Scopes::from_stored(&admin.contract_ids(), false).is_admin());
        assert!(Scopes::from_stored("of the future", false).is_empty());
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
