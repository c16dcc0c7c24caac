//! One config value, turned into the settings that each layer below takes.
//!
//! Invariant: a snapshot never changes. Reload makes a new one; a connection keeps the one it
//! started with.

use crate::config::{Config, Network, OAuth, Pop3Language};
use crate::failure::{Failure, Result};
use crate::mail_path;
use std::net::IpAddr;
use std::sync::Arc;
use store::auth::{Issuer, Tokens};
use wire::sasl::{Mechanism, TokenError};

/// The settings of every layer.
pub struct Snapshot {
    /// For SMTP from other servers.
    pub mx: Arc<smtp::server::Config>,
    /// For SMTP from our accounts.
    pub submission: ByPeer<smtp::server::Config>,
    /// For LMTP.
    pub lmtp: Arc<smtp::server::Config>,
    /// For IMAP.
    pub imap: ByPeer<access::imap::Config>,
    /// For POP3.
    pub pop3: Arc<access::pop3::Config>,
    /// Whose peers may send a password without TLS.
    plaintext_networks: Vec<Network>,
    proxy_networks: Vec<Network>,
    /// Which bearer tokens are taken.
    pub tokens: Arc<Tokens>,
    /// For the mail path.
    pub mail: Arc<mta::Settings>,
}

/// Settings that differ for the few peers who may send a password without TLS.
pub struct ByPeer<C> {
    trusted: Arc<C>,
    others: Arc<C>,
}

impl<C> ByPeer<C> {
    /// `make` is told whether it makes those of the few.
    pub fn new(make: impl Fn(bool) -> C) -> Self {
        Self { trusted: Arc::new(make(true)), others: Arc::new(make(false)) }
    }

    /// The settings for a peer.
    pub fn of(&self, trusted: bool) -> Arc<C> {
        Arc::clone(if trusted { &self.trusted } else { &self.others })
    }
}

impl Snapshot {
    /// Reads the credentials that routes name and the keys of the issuer; everything else is in the config already.
    ///
    /// # Errors
    /// When a file of credentials or keys cannot be read.
    pub fn new(config: &Config, pretence_key: [u8; 32]) -> Result<Self> {
        let hostname = config.hostname.as_str();
        let smtp = |role| {
            let mut made = smtp::server::Config::new(hostname, role);
            made.limits.message_octets_max = config.limits.message_octets.0;
            made.limits.recipients_max = config.limits.recipients;
            made.limits.idle_max = config.limits.smtp_idle.0;
            made.pretence_key = pretence_key;
            made.limits_offered = true;
            made.mt_priority = true;
            made.deliver_by = true;
            made.binary_mime = true;
            made.etrn = role != smtp::server::Role::Lmtp;
            made
        };
        let hold_max = Some(config.queue.hold.0).filter(|hold| !hold.is_zero());
        let tokens = tokens(config)?;
        let mechanisms = mechanisms(&tokens);
        let mx = smtp::server::Config { starttls: true, ..smtp(smtp::server::Role::Mx) };
        let submission = |plaintext: bool| smtp::server::Config {
            starttls: true,
            mechanisms: mechanisms.clone(),
            auth_needs_tls: !plaintext,
            hold_max,
            ..smtp(smtp::server::Role::Submission)
        };
        Ok(Self {
            mx: Arc::new(mx),
            submission: ByPeer::new(submission),
            lmtp: Arc::new(smtp(smtp::server::Role::Lmtp)),
            imap: ByPeer::new(|plaintext| access::imap::Config { mechanisms: mechanisms.clone(), ..imap(config, plaintext, pretence_key) }),
            pop3: Arc::new(access::pop3::Config { mechanisms: mechanisms.clone(), ..pop3(config, pretence_key) }),
            tokens: Arc::new(tokens),
            plaintext_networks: config.allow_plaintext_login.clone(),
            proxy_networks: config.xclient_from.clone(),
            mail: Arc::new(mail_path::settings(config)?),
        })
    }

    /// Whether a peer may say by XCLIENT for whom it speaks.
    pub fn trusts_as_proxy(&self, peer: IpAddr) -> bool {
        self.proxy_networks.iter().any(|network| network.0.contains(peer))
    }

    /// Whether a peer may send a password without TLS.
    pub fn allows_plaintext(&self, peer: IpAddr) -> bool {
        self.plaintext_networks.iter().any(|network| network.0.contains(peer))
    }
}

/// What may be offered; of these, each connection offers what it allows.
fn mechanisms(tokens: &Tokens) -> Vec<Mechanism> {
    let taken = |mechanism: &Mechanism| !matches!(mechanism, Mechanism::OAuthBearer | Mechanism::XOAuth2) || tokens.any();
    Mechanism::ALL.into_iter().filter(taken).collect()
}

fn tokens(config: &Config) -> Result<Tokens> {
    let OAuth { own_tokens, issuer, keys_file, audience, login_claim, scope, discovery_url } = &config.oauth;
    let issuer = match (issuer, keys_file) {
        (Some(issuer), Some(file)) => {
            let bad = |error: String| Failure::usage(format!("oauth.keys_file {}: {error}", file.display()));
            let jwks = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
            Some(Issuer::new(issuer, audience.clone(), login_claim, scope.clone(), &jwks).map_err(|error| bad(error.to_string()))?)
        }
        _ => None,
    };
    let hints = TokenError { scope: scope.clone(), openid_configuration: discovery_url.clone() };
    Ok(Tokens { own: *own_tokens, issuer, hints })
}

fn imap(config: &Config, plaintext_login: bool, pretence_key: [u8; 32]) -> access::imap::Config {
    let mut made = access::imap::Config { plaintext_login, pretence_key, ..access::imap::Config::default() };
    made.greeting = format!("{} Postrider ready", config.hostname);
    made.limits.append_octets_max = config.limits.message_octets.0;
    made.limits.silence_max = config.limits.imap_idle.0;
    made.limits.command_messages_max = Some(config.limits.imap_messages).filter(|messages| *messages > 0);
    made
}
fn pop3(config: &Config, pretence_key: [u8; 32]) -> access::pop3::Config {
    let mut made = access::pop3::Config { pretence_key, ..access::pop3::Config::default() };
    made.greeting = format!("{} Postrider ready", config.hostname);
    made.limits.idle_max = config.limits.pop3_idle.0;
    made.login_delay = config.pop3.login_delay.0;
    made.expire_days = config.pop3.expire_days;
    // The config was checked.
    made.uidl_format = config.pop3.uidl_format.parse().unwrap_or_default();
    made.exclusive = config.pop3.exclusive;
    made.language = match config.pop3.language {
        Pop3Language::En => access::pop3::Language::English,
        Pop3Language::De => access::pop3::Language::German,
    };
    made
}
