//! Storage quotas of sites and contacts (S5).

/// A number of files and bytes, used as usage and as limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Attachments.
    pub files: u64,
    /// Bytes of the original files.
    pub bytes: u64,
}

/// The limits of a site and of each of its contacts; 0 means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// The limit of a whole site.
    pub site: Amount,
    /// The limit of each contact.
    pub contact: Amount,
}

/// A site's own quotas; `None` means the server's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaOverrides {
    /// Most bytes of the whole site.
    pub max_bytes: Option<u64>,
    /// Most attachments of the whole site.
    pub max_files: Option<u64>,
    /// Most bytes of each contact.
    pub contact_max_bytes: Option<u64>,
    /// Most attachments of each contact.
    pub contact_max_files: Option<u64>,
}

impl QuotaOverrides {
    /// These quotas, with `defaults` for those that are not set.
    pub fn or(self, defaults: Quotas) -> Quotas {
        let amount = |files: Option<u64>, bytes: Option<u64>, default: Amount| Amount {
            files: files.unwrap_or(default.files),
            bytes: bytes.unwrap_or(default.bytes),
        };
        Quotas {
            site: amount(self.max_files, self.max_bytes, defaults.site),
            contact: amount(self.contact_max_files, self.contact_max_bytes, defaults.contact),
        }
    }
}

/// A quota that would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {scope} may hold at most {limit} {unit} and holds {in_use}")]
pub struct QuotaExceeded {
    /// `site` or `contact`.
    pub scope: &'static str,
    /// `bytes` or `files`.
    pub unit: &'static str,
    /// The limit.
    pub limit: u64,
    /// Current usage.
    pub in_use: u64,
}

impl Quotas {
    /// Whether any limit is set.
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Checks that a further file of `bytes` fits, given the usage of `site` and `contact`.
    ///
    /// # Errors
    ///
    /// The first quota that would be exceeded.
    pub fn check(&self, site: Amount, contact: Amount, bytes: u64) -> Result<(), QuotaExceeded> {
        for (scope, limit, usage) in [("contact", self.contact, contact), ("site", self.site, site)]
        {
            for (unit, limit, in_use, added) in
                [("files", limit.files, usage.files, 1), ("bytes", limit.bytes, usage.bytes, bytes)]
            {
                if limit != 0 && in_use.saturating_add(added) > limit {
                    return Err(QuotaExceeded { scope, unit, limit, in_use });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_may_be_reached_but_not_exceeded() {
        let contact = Amount { files: 2, bytes: 100 };
        let quotas = Quotas { site: Amount::default(), contact };
        let usage = Amount { files: 1, bytes: 60 };
        assert_eq!(quotas.check(usage, usage, 40), Ok(()));
        let over = quotas.check(usage, usage, 41).unwrap_err();
        assert_eq!(over, QuotaExceeded { scope: "contact", unit: "bytes", limit: 100, in_use: 60 });
        assert_eq!(over.to_string(), "the contact may hold at most 100 bytes and holds 60");
        let over = quotas.check(usage, Amount { files: 2, bytes: 2 }, 1).unwrap_err();
        assert_eq!((over.scope, over.unit), ("contact", "files"));
    }

    #[test]
    fn default_quotas_are_unlimited() {
        let usage = Amount { files: u64::MAX, bytes: u64::MAX };
        assert!(!Quotas::default().is_limited());
        assert_eq!(Quotas::default().check(usage, usage, u64::MAX), Ok(()));
    }
}
