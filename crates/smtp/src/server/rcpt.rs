//! RCPT TO (RFC 5321 §4.1.1.3) and its parameters (RFC 3461).

use super::mail::{bad_parameter, unknown_parameter};
use super::{Answer, Ask, Asked, Phase, Server, State, reply};
use crate::Reply;
use crate::grammar::{Fault, Parameter, Path, decode_xtext, path};
use mail::{Address, Notify, Recipient};

/// Longest ORCPT, octets (RFC 3461 §4.2).
const ORIGINAL_OCTETS_MAX: usize = 500;

impl Server {
    pub(super) fn rcpt(&mut self, args: &str) {
        if self.transaction.recipients >= self.config.limits.recipients_max {
            return self.say(&Reply::new(452, (4, 5, 3), "Too many recipients"));
        }
        match self.recipient(args) {
            Ok(recipient) => self.ask(Ask::Rcpt(recipient), Asked::Rcpt),
            Err(reply) => self.say(&reply),
        }
    }

    pub(super) fn rcpt_answered(&mut self, answer: Answer) {
        let reply = reply(answer, Reply::new(250, (2, 1, 5), "OK"));
        if reply.is_positive() {
            self.transaction.recipients += 1;
            self.state = State::Command(Phase::Rcpt);
        }
        self.say(&reply);
    }

    /// `<Postmaster>` alone is ours (RFC 5321 §4.5.1).
    pub(super) fn postmaster(&self) -> Result<Address, Reply> {
        let address = Address::parse(&format!("postmaster@{}", self.config.hostname));
        address.map_err(|_| Reply::new(550, (5, 1, 1), "Postmaster has no domain here"))
    }

    fn recipient(&self, args: &str) -> Result<Recipient, Reply> {
        let (path, parameters) = path(args, "TO").map_err(|fault| rcpt_fault(&fault))?;
        let address = match path {
            Path::Null => return Err(Reply::new(501, (5, 1, 3), "A recipient cannot be empty")),
            Path::Postmaster => self.postmaster()?,
            Path::Mailbox(_, text) if !text.is_ascii() && !self.transaction.smtputf8 => {
                return Err(Reply::new(553, (5, 6, 7), "A recipient beyond ASCII needs SMTPUTF8"));
            }
            Path::Mailbox(address, _) => address,
        };
        let mut recipient = Recipient::new(address);
        for (n, parameter) in parameters.iter().enumerate() {
            if parameters.iter().take(n).any(|earlier| earlier.is(parameter.keyword)) {
                return Err(bad_parameter(parameter, "is given twice"));
            }
            self.rcpt_parameter(&mut recipient, parameter)?;
        }
        Ok(recipient)
    }

    fn rcpt_parameter(&self, recipient: &mut Recipient, parameter: &Parameter<'_>) -> Result<(), Reply> {
        let bad = |why: &str| bad_parameter(parameter, why);
        match parameter.value {
            Some(value) if self.config.dsn && parameter.is("NOTIFY") => {
                recipient.notify = Some(notify(value).ok_or_else(|| bad("is NEVER, or of SUCCESS,FAILURE,DELAY"))?);
            }
            Some(value) if self.config.dsn && parameter.is("ORCPT") => {
                recipient.original = Some(original(value).ok_or_else(|| bad("needs a type, ; and xtext"))?);
            }
            _ => return Err(unknown_parameter(parameter)),
        }
        Ok(())
    }
}

fn rcpt_fault(fault: &Fault) -> Reply {
    match fault {
        Fault::Keyword | Fault::Brackets => Reply::new(501, (5, 5, 4), "Syntax: RCPT TO:<address>"),
        Fault::Address(error) => Reply::new(501, (5, 1, 3), format!("Bad recipient: {error}")),
        Fault::Parameter => Reply::new(501, (5, 5, 4), "A parameter cannot be read"),
    }
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

/// `rfc822;Bob@example.com`: the type as it came, the address decoded.
fn original(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';')?;
    let named = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if !named || address.is_empty() || value.len() > ORIGINAL_OCTETS_MAX {
        return None;
    }
    Some(format!("{kind};{}", decode_xtext(address)?))
}
