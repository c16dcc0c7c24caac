//! Hands mail to other servers.

pub mod hosts;
