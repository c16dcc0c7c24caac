//! Hands mail to other servers.
//!
//! [`hosts`] decides which hosts in which order (pure), [`connection`] works through them and keeps
//! a connection for as many messages as there are, [`carrier`] answers the client session's
//! questions.
//!
//! The world is reached through three traits only: [`net::Dns`], [`net::Dial`], [`net::Clock`].

pub(crate) mod carrier;
pub(crate) mod connection;
pub mod hosts;
pub(crate) mod manner;

use crate::transport::Transport;
use std::sync::Arc;

/// What delivery needs of the world.
#[derive(Clone)]
pub struct World {
    /// Asks DNS.
    pub dns: Arc<dyn net::Dns>,
    /// Makes connections.
    pub dial: Arc<dyn net::Dial>,
    /// Tells the time.
    pub clock: Arc<dyn net::Clock>,
    /// TLS as the client; without it mail goes in clear, and routes that require TLS are not used.
    pub tls: Option<Tls>,
    /// What is remembered about the security of other servers, and what is counted.
    pub transport: Transport,
    /// A fresh text for each connection that signs in: at least 24 printable ASCII octets without a comma.
    pub nonce: Arc<dyn Fn() -> String + Send + Sync>,
}

/// TLS as the client.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For opportunistic TLS: any certificate will do (RFC 7435).
    pub opportunistic: net::tls::Client,
    /// For routes that require TLS.
    pub verified: net::tls::Client,
}
