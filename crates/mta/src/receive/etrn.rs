//! ETRN: a host of a destination asks for what waits for it (RFC 1985).
//!
//! Only whom we know may ask: anybody else could keep us busy with hosts that do not answer.

use super::Receiver;
use crate::queue::admin;
use mail::Domain;
use smtp::Reply;
use smtp::server::Answer;

impl Receiver {
    pub(super) async fn etrn(&self, node: &str) -> Answer {
        if self.account.is_none() && !self.is_relay() {
            return self.reply(Reply::new(459, (4, 7, 1), "Not for you"));
        }
        // `@domain` is the domain and its subdomains; `#queue` is a name that a host gives to mail of its own.
        let (subdomains, name) = node.strip_prefix('@').map_or((false, node), |name| (true, name));
        let Ok(domain) = Domain::parse(name) else {
            return self.reply(Reply::new(501, (5, 5, 4), "This is no domain"));
        };
        let now = self.context.clock.wall();
        // Who asks is there again: its hosts are not left alone any longer.
        if subdomains {
            self.context.urge.tell_below(domain.clone());
        } else {
            self.context.urge.tell([domain.clone()]);
        }
        let written = self.context.store.write(move |tx| admin::retry_domain(tx, &domain, subdomains, now)).await;
        match written {
            Ok(0) => Answer::Reply(Reply::new(251, (2, 0, 0), format!("No messages wait for {node}"))),
            Ok(messages) => Answer::Reply(Reply::new(253, (2, 0, 0), format!("{messages} messages for {node} are tried now"))),
            Err(error) => {
                tracing::error!(%error, "the queue could not be asked for a destination");
                self.reply(Reply::new(458, (4, 3, 0), format!("Cannot queue messages for {node}")))
            }
        }
    }
}
