//! TLS: certificates we show, trust in those we are shown, handshakes.
//!
//! Not a policy: whether TLS is wanted or must be verified is the caller's decision.

mod accept;
mod certificates;
mod client;

pub use accept::{accept, server_config};
pub use certificates::{CertificateError, Certificates, Pair, self_signed};
pub use client::{Client, Trust, TrustError};
