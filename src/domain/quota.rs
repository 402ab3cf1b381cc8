//! How much a site and a contact may hold (S5).

/// What is held, or may be held at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Attachments.
    pub files: u64,
    /// Bytes of their originals.
    pub bytes: u64,
}

/// The most that a site and each of its contacts may hold; 0 is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Of a site in all.
    pub site: Amount,
    /// Of each contact.
    pub contact: Amount,
}

/// What a site says of its own quotas; `None` is the setting's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnQuotas {
    /// Bytes of the site in all.
    pub max_bytes: Option<u64>,
    /// Attachments of the site in all.
    pub max_files: Option<u64>,
    /// Bytes of each of its contacts.
    pub contact_max_bytes: Option<u64>,
    /// Attachments of each of its contacts.
    pub contact_max_files: Option<u64>,
}

impl OwnQuotas {
    /// These where they say something, otherwise the others.
    pub fn over(self, others: Quotas) -> Quotas {
        let amount = |files: Option<u64>, bytes: Option<u64>, other: Amount| Amount {
            files: files.unwrap_or(other.files),
            bytes: bytes.unwrap_or(other.bytes),
        };
        Quotas {
            site: amount(self.max_files, self.max_bytes, others.site),
            contact: amount(self.contact_max_files, self.contact_max_bytes, others.contact),
        }
    }
}

/// A quota that would not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {scope} may hold at most {limit} {unit} and holds {in_use}")]
pub struct OverQuota {
    /// `site` or `contact`.
    pub scope: &'static str,
    /// `bytes` or `files`.
    pub unit: &'static str,
    /// The most that it may hold.
    pub limit: u64,
    /// What it holds now.
    pub in_use: u64,
}

impl Quotas {
    /// Whether there is any limit at all.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether one more file of so many bytes may be held beside what a site and a contact hold.
    ///
    /// # Errors
    ///
    /// The first quota that would not be kept.
    pub fn allow(&self, site: Amount, contact: Amount, bytes: u64) -> Result<(), OverQuota> {
        let held = [("contact", self.contact, contact), ("site", self.site, site)];
        for (scope, most, now) in held {
            for (unit, limit, in_use, more) in
                [("files", most.files, now.files, 1), ("bytes", most.bytes, now.bytes, bytes)]
            {
                if limit != 0 && in_use.saturating_add(more) > limit {
                    return Err(OverQuota { scope, unit, limit, in_use });
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
    fn a_quota_may_be_reached_and_not_passed() {
        let most = Amount { files: 2, bytes: 100 };
        let quotas = Quotas { site: Amount::default(), contact: most };
        let held = Amount { files: 1, bytes: 60 };
        assert_eq!(quotas.allow(held, held, 40), Ok(()));
        let over = quotas.allow(held, held, 41).unwrap_err();
        assert_eq!(over, OverQuota { scope: "contact", unit: "bytes", limit: 100, in_use: 60 });
        assert_eq!(over.to_string(), "the contact may hold at most 100 bytes and holds 60");
        let over = quotas.allow(held, Amount { files: 2, bytes: 2 }, 1).unwrap_err();
        assert_eq!((over.scope, over.unit), ("contact", "files"));
    }

    #[test]
    fn without_quotas_anything_goes() {
        let held = Amount { files: u64::MAX, bytes: u64::MAX };
        assert!(!Quotas::default().any());
        assert_eq!(Quotas::default().allow(held, held, u64::MAX), Ok(()));
    }
}
