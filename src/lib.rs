//! Dossier.
pub mod domain;
