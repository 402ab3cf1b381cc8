//! Work on two or more resources, in the safe order.

pub mod backup;
pub mod contacts;
pub mod delete;
pub mod download;
pub mod fsck;
pub mod inbound;
pub mod migrate;
pub mod preview;
pub mod recover;
pub mod scrub;
pub mod sessions;
pub mod sites;
pub mod sweep;
pub mod transform;
pub mod upload;
pub mod webhooks;
