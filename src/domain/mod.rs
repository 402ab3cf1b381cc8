//! Domain rules. Pure code: no async, no I/O of its own, no clock, no randomness.

pub mod attachment;
pub mod byte_range;
pub mod certificates;
pub mod content_disposition;
pub mod cursor;
pub mod file_name;
pub mod folding;
pub mod hex;
pub mod ids;
pub mod inbound;
pub mod media_host;
pub mod media_type;
pub mod paging;
pub mod quota;
pub mod scope;
pub mod session;
pub mod signing;
pub mod sniff;
pub mod store_place;
pub mod timestamp;
pub mod transform;
pub mod tus;
pub mod webhook;
pub mod zip_form;
