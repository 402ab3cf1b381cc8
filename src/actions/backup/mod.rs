//! Backups (R23): one consistent snapshot of a store under load, verified byte by byte while it is
//! written and before any of it is restored.
//!
//! The rows are copied first, in one snapshot, then every original they name. Bytes removed in the
//! meantime are kept, because the backup holds removals ([`crate::db::Db::hold_removals`]).

mod create;
mod restore;

pub use create::{Created, create};
pub use restore::{Restored, restore};

use std::path::Path;

use crate::archive::{self, Outcome};

/// Verifies every file of a backup against its list.
///
/// # Errors
///
/// When it is not a backup, or cannot be read at all.
pub fn verify(source: &Path) -> anyhow::Result<Outcome> {
    archive::read(source, &mut |_, _| Ok(()))
}
