//! Mail that waits for other servers.

pub mod schedule;
