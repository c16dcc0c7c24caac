//! EHLO, HELO and LHLO (RFC 5321 §4.1.1.1, RFC 2033 §4.1).

use super::{Answer, Ask, Asked, Limits, Phase, Server, State, Then, refusal};
use crate::Reply;
use wire::sasl::Mechanism;

/// Longest name a peer may give itself, octets (RFC 5321 §4.5.3.1.2).
const NAME_OCTETS_MAX: usize = 255;

impl Server {
    pub(super) fn ehlo(&mut self, args: &str) {
        self.greeted(args, true);
    }

    pub(super) fn helo(&mut self, args: &str) {
        self.greeted(args, false);
    }

    /// Deviation: any printable word is taken for a name; clients send Windows names, addresses without
    /// brackets and worse, and RFC 5321 §4.1.4 forbids to refuse mail for it.
    fn greeted(&mut self, args: &str, esmtp: bool) {
        let name = args.split([' ', '\t']).next().unwrap_or_default();
        if name.is_empty() || name.len() > NAME_OCTETS_MAX {
            return self.say(&Reply::new(501, (5, 5, 4), "Say who you are"));
        }
        if self.idle_command() {
            self.reset(Then::Helo { name: name.to_owned(), esmtp });
        }
    }

    pub(super) fn ask_helo(&mut self, name: String, esmtp: bool) {
        let (name, claimed) = self.claimed_helo(name, esmtp);
        self.ask(Ask::Helo { name, esmtp: claimed, tls: self.tls.clone() }, Asked::Helo { esmtp });
    }

    pub(super) fn welcomed(&mut self, answer: Answer, esmtp: bool) {
        if let Some(reply) = refusal(answer) {
            return self.say(&reply);
        }
        self.state = State::Command(Phase::Ready);
        let text = if esmtp { self.extensions() } else { self.config.hostname.clone() };
        self.say(&Reply::plain(250, text));
    }

    /// Our name and every extension, one a line.
    fn extensions(&self) -> String {
        let config = &self.config;
        let mut lines = vec![config.hostname.clone(), "PIPELINING".to_owned()];
        lines.push(format!("SIZE {}", config.limits.message_octets_max));
        lines.push("8BITMIME".to_owned());
        lines.push("ENHANCEDSTATUSCODES".to_owned());
        if config.starttls && self.tls.is_none() {
            lines.push("STARTTLS".to_owned());
        }
        if self.auth_allowed() {
            let offered: Vec<_> = self.mechanisms().map(Mechanism::name).collect();
            lines.push(format!("AUTH {}", offered.join(" ")));
        }
        let optional = [
            (config.dsn, "DSN"),
            (config.chunking, "CHUNKING"),
            (self.takes_binary(), "BINARYMIME"),
            (config.smtputf8, "SMTPUTF8"),
            (config.requiretls && self.tls.is_some(), "REQUIRETLS"),
            (config.mt_priority, "MT-PRIORITY"),
            (config.deliver_by, "DELIVERBY"),
            (config.etrn, "ETRN"),
            (self.xclient, super::xclient::OFFER),
        ];
        lines.extend(optional.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
        lines.extend(self.future_release());
        if config.limits_offered {
            lines.push(offered_limits(&config.limits));
        }
        lines.join("\n")
    }
}

/// Six digits at most (RFC 9422 §3).
const LIMIT_MAX: usize = 999_999;

fn offered_limits(limits: &Limits) -> String {
    let (mails, recipients) = (limits.transactions_max.clamp(1, LIMIT_MAX), limits.recipients_max.clamp(1, LIMIT_MAX));
    format!("LIMITS MAILMAX={mails} RCPTMAX={recipients}")
}
