//! Backups (R23): one consistent point of a store under load, looked at byte by byte while it is
//! written and before anything of it is used.
//!
//! The rows are copied first, in one snapshot; then every original that they name. Bytes that are
//! removed meanwhile wait, because the backup holds them ([`crate::db::Db::hold_removals`]).

mod create;
mod restore;

pub use create::{Created, create};
pub use restore::{Restored, restore};

use std::path::Path;

use crate::archive::{self, Outcome};

/// Compares every file of a backup with its list.
///
/// # Errors
///
/// When it is no backup, or cannot be read at all.
pub fn verify(source: &Path) -> anyhow::Result<Outcome> {
    archive::read(source, &mut |_, _| Ok(()))
}
