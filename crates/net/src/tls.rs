//! TLS: certificates we show, trust in those we are shown, handshakes.
//!
//! Not a policy: whether TLS is wanted or must be verified is the caller's decision.

mod accept;
mod certificates;
mod client;
mod dane;
mod identity;

pub use accept::{accept, server_config, server_config_asking_clients};
pub use certificates::{CertificateError, Certificates, Pair, self_signed};
pub use client::{Client, Fault, Trust, TrustError, fault, words};
pub use dane::{Dane, DaneError, is_usable, record_of, record_of_file};
#[doc(hidden)]
pub use identity::client_addresses;
