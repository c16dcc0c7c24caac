//! Call-ahead: does the server that we are a backup for know this recipient? Asked with a transaction that ends before
//! the message.
//!
//! Not a verdict by itself: whoever is not clearly refused is taken, since a backup is there for when nobody answers.
//!
//! Invariants: a question takes no longer than [`ASK_MAX`]; what is remembered is bounded by [`REMEMBERED_MAX`].

use crate::bounce_class::{Given, classify};
use crate::deliver::{World, hosts};
use crate::route::{Destination, Target, route};
use crate::settings::Settings;
use mail::{Address, BodyType, Domain, Envelope, Recipient, ReversePath, Terms, Timestamp};
use net::{DnsError, Shell, Upgrade};
use rustls_pki_types::ServerName;
use smtp::client::{Answer, Ask, Cause, Class, Client, Config, Outcome, Stage, TlsPolicy, Transaction};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wire::Handler;

/// How long a question may take. Default 20 seconds, our own bound: the peer waits for its reply to RCPT.
const ASK_MAX: Duration = Duration::from_secs(20);
/// Answers that are remembered. Our own bound.
const REMEMBERED_MAX: usize = 10_000;
/// How long it is remembered that there is such a recipient, and that there is none.
const KNOWN: Duration = Duration::from_hours(24);
const UNKNOWN: Duration = Duration::from_mins(30);
/// Hosts that are asked.
const HOSTS_MAX: usize = 2;
/// The size that is said; no octet of it is ever sent.
const OCTETS: u64 = 1024;

/// Asks other servers about recipients, and remembers what they said.
pub struct CallAhead {
    world: World,
    /// By the address in lower case: whether there is one, and until when that is remembered.
    remembered: Mutex<BTreeMap<String, (bool, Timestamp)>>,
}

impl CallAhead {
    /// One that remembers nothing yet.
    pub fn new(world: World) -> Self {
        Self { world, remembered: Mutex::default() }
    }

    /// Whether a recipient is known at its server; `None`: that is not known.
    pub async fn knows(&self, address: &Address, settings: &Settings) -> Option<bool> {
        let (key, now) = (address.key(), self.world.clock.wall());
        if let Some(known) = self.remembered(&key, now) {
            return Some(known);
        }
        let known = tokio::time::timeout(ASK_MAX, self.ask(address, settings)).await.ok().flatten()?;
        self.remember(key, known, now);
        Some(known)
    }

    fn remembered(&self, key: &str, now: Timestamp) -> Option<bool> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(key).filter(|(_, until)| *until > now).map(|(known, _)| *known)
    }

    fn remember(&self, key: String, known: bool, now: Timestamp) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (_, until)| *until > now);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(key, (known, now.after(if known { KNOWN } else { UNKNOWN })));
        }
    }

    async fn ask(&self, address: &Address, settings: &Settings) -> Option<bool> {
        for target in self.targets(address.domain(), settings).await?.into_iter().take(HOSTS_MAX) {
            let Ok(addresses) = self.world.dns.addresses(&target.host).await else { continue };
            let Some(ip) = hosts::interleaved(addresses).into_iter().next() else { continue };
            let from = if ip.is_ipv4() { settings.delivery.source_ipv4 } else { settings.delivery.source_ipv6 };
            let dialing = self.world.dial.connect(SocketAddr::new(ip, target.port), from, settings.delivery.connect_timeout);
            let Ok(socket) = dialing.await else { continue };
            let said = Arc::new(Mutex::new(None));
            let asker = Asker { question: Some(question(address, self.world.clock.wall())), said: Arc::clone(&said) };
            let (config, upgrade) = self.manner(&target.host, settings);
            let client = Client::new(config, self.world.clock.now());
            // However it ends, what was said until then counts.
            let _ended = net::drive(client, asker, socket, upgrade, Shell::new(Arc::clone(&self.world.clock))).await;
            let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(known) = said.as_ref().and_then(meaning) {
                return Some(known);
            }
        }
        None
    }

    /// The hosts that the message would go to.
    async fn targets(&self, domain: &Domain, settings: &Settings) -> Option<Vec<Target>> {
        match route(&settings.routes, domain, None, false) {
            Destination::Smarthost(smarthost, _) => Some(smarthost.targets.clone()),
            Destination::Local => None,
            Destination::Mx(domain, _) => {
                let is_self = |host: &Domain| *host == settings.hostname || settings.delivery.own_names.contains(host);
                let hosts = match self.world.dns.mx(&domain).await {
                    Ok(records) => hosts::by_preference(&records, is_self, settings.delivery.seed).ok()?,
                    Err(DnsError::NoData) if !is_self(&domain) => vec![domain],
                    Err(_) => return None,
                };
                Some(hosts.into_iter().map(|host| Target { host, port: settings.delivery.port }).collect())
            }
        }
    }

    /// TLS if it is offered: what is asked is nobody else's business.
    fn manner(&self, host: &Domain, settings: &Settings) -> (Config, Upgrade) {
        let mut config = Config::new(settings.hostname.as_str());
        let name = ServerName::try_from(host.as_str().to_owned()).ok();
        let upgrade = match (&self.world.tls, name) {
            (Some(tls), Some(name)) => Upgrade::Client(tls.opportunistic.clone(), name),
            _ => Upgrade::None,
        };
        config.tls_policy = if matches!(upgrade, Upgrade::None) { TlsPolicy::None } else { TlsPolicy::Opportunistic };
        (config, upgrade)
    }
}

fn question(address: &Address, now: Timestamp) -> Transaction {
    let envelope = Envelope {
        reverse_path: ReversePath(None),
        recipients: vec![Recipient::new(address.clone())],
        body: BodyType::SevenBit,
        smtputf8: !address.is_ascii(),
        ..Envelope::default()
    };
    Transaction { envelope, octets: OCTETS, terms: Terms::default(), now }
}

/// What the outcome says of the recipient.
fn meaning(outcome: &Outcome) -> Option<bool> {
    match (outcome.stage, outcome.class, &outcome.cause) {
        // It was taken: what came after that was ours.
        (Stage::Data | Stage::EndOfData, ..) => Some(true),
        (Stage::Rcpt, Class::Permanent, Cause::Reply(reply)) => {
            let given = Given { stage: Some(Stage::Rcpt), code: Some(reply.code), status: reply.status, text: &reply.text };
            // That we are refused, or the null reverse-path is, says nothing about the recipient.
            classify(&given).blames_address().then_some(false)
        }
        _ => None,
    }
}

/// Asks one question and keeps what was said.
struct Asker {
    question: Option<Transaction>,
    said: Arc<Mutex<Option<Outcome>>>,
}

impl Handler<Client> for Asker {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next => self.question.take().map_or(Answer::Quit, Answer::Message),
            Ask::Convert(_) | Ask::Body { .. } => Answer::Abort,
            Ask::Outcome(outcome) => {
                *self.said.lock().unwrap_or_else(PoisonError::into_inner) = outcome.recipients.into_iter().next();
                Answer::Taken
            }
            Ask::Failed(_) => Answer::Taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp::Reply;

    #[test]
    fn only_a_clear_refusal_of_the_address_counts() {
        let reply = |stage, code, status, text: &str| Outcome::from_reply(stage, Reply::new(code, status, text));
        for (outcome, want) in [
            (reply(Stage::Rcpt, 550, (5, 1, 1), "User unknown"), Some(false)),
            (reply(Stage::Rcpt, 550, (5, 7, 1), "Client host [192.0.2.1] blocked using x"), None),
            (reply(Stage::Rcpt, 550, (5, 7, 1), "Null sender not accepted for policy"), None),
            (reply(Stage::Rcpt, 450, (4, 2, 0), "Greylisted"), None),
            (reply(Stage::Mail, 550, (5, 7, 1), "No"), None),
            (reply(Stage::Data, 451, (4, 3, 0), "Later"), Some(true)),
            (Outcome::ours(Stage::Data, (4, 3, 0), "The message cannot be read"), Some(true)),
            (Outcome::ours(Stage::Rcpt, (4, 4, 2), "The server took too long"), None),
        ] {
            assert_eq!(meaning(&outcome), want, "{outcome:?}");
        }
    }
}
