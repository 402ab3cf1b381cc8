//! Rules of the domain: no async, no I/O of its own, no clock, no randomness.

pub mod image;
