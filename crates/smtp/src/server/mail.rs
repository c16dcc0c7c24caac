//! MAIL FROM (RFC 5321 §4.1.1.2) and its parameters (RFC 1870, 6152, 6531, 3461, 4954, 8689).

use super::auth::Asking;
use super::{Answer, Ask, Asked, MailCommand, Phase, Role, Server, State, Transaction, reply};
use crate::Reply;
use crate::grammar::{Fault, Parameter, Path, decode_xtext, path};
use mail::{BodyType, Ret, ReversePath, Terms};

/// Longest ENVID, octets of xtext (RFC 3461 §4.4).
const ENVELOPE_ID_OCTETS_MAX: usize = 100;

impl Server {
    pub(super) fn mail(&mut self, args: &str) {
        if let Some(ask) = self.implied_external() {
            return self.ask(ask, Asked::Auth(Asking::Implied(args.to_owned())));
        }
        if let Some(reply) = self.not_yet() {
            return self.say(&reply);
        }
        if self.counts.transactions >= self.config.limits.transactions_max {
            return self.give_up(&Reply::new(421, (4, 7, 0), "Too many messages over one connection"));
        }
        match self.mail_command(args) {
            Ok(command) => {
                let (smtputf8, binary) = (command.smtputf8, command.body == BodyType::BinaryMime);
                self.ask(Ask::Mail(command), Asked::Mail { smtputf8, binary });
            }
            Err(reply) => self.say(&reply),
        }
    }

    pub(super) fn mail_answered(&mut self, answer: Answer, smtputf8: bool, binary: bool) {
        let reply = reply(answer, Reply::new(250, (2, 1, 0), "OK"));
        if reply.is_positive() {
            self.transaction = Transaction { smtputf8, binary, ..Transaction::default() };
            self.state = State::Command(Phase::Mail);
        }
        self.say(&reply);
    }

    /// What must come before MAIL (RFC 3207 §4, RFC 4954 §6, RFC 6409 §4.3).
    fn not_yet(&self) -> Option<Reply> {
        let needs_auth = self.config.role == Role::Submission && !self.authenticated;
        let needs_tls = self.config.mail_needs_tls || (needs_auth && self.config.auth_needs_tls);
        if needs_tls && self.tls.is_none() {
            return Some(Reply::new(530, (5, 7, 0), "Must issue a STARTTLS command first"));
        }
        needs_auth.then(|| Reply::new(530, (5, 7, 0), "Authentication required"))
    }

    fn mail_command(&self, args: &str) -> Result<MailCommand, Reply> {
        let (path, parameters) = path(args, "FROM").map_err(|fault| mail_fault(&fault))?;
        let (reverse_path, ascii) = match path {
            Path::Null => (ReversePath(None), true),
            Path::Postmaster => (ReversePath(Some(self.postmaster()?)), true),
            Path::Mailbox(address, text) => (ReversePath(Some(address)), text.is_ascii()),
        };
        let mut command = MailCommand::new(reverse_path);
        for (n, parameter) in parameters.iter().enumerate() {
            if parameters.iter().take(n).any(|earlier| earlier.is(parameter.keyword)) {
                return Err(bad_parameter(parameter, "is given twice"));
            }
            self.mail_parameter(&mut command, parameter)?;
        }
        if command.terms.returned_at().is_some_and(|at| command.terms.hold_until.is_some_and(|hold| at <= hold)) {
            return Err(Reply::new(501, (5, 5, 4), "The message would be late before it is released"));
        }
        if !ascii && !command.smtputf8 {
            return Err(Reply::new(553, (5, 6, 7), "A sender beyond ASCII needs SMTPUTF8"));
        }
        Ok(command)
    }

    fn mail_parameter(&self, command: &mut MailCommand, parameter: &Parameter<'_>) -> Result<(), Reply> {
        let config = &self.config;
        let bad = |why: &str| bad_parameter(parameter, why);
        match (parameter.keyword.to_ascii_uppercase().as_str(), parameter.value) {
            ("SIZE", Some(value)) => command.size = Some(self.declared_size(value).ok_or_else(|| bad("needs a number"))??),
            ("BODY", Some(value)) => command.body = self.body_type(value).ok_or_else(|| bad("is 7BIT or 8BITMIME"))?,
            ("SMTPUTF8", None) if config.smtputf8 => command.smtputf8 = true,
            ("RET", Some(value)) if config.dsn => command.ret = Some(ret(value).ok_or_else(|| bad("is FULL or HDRS"))?),
            ("ENVID", Some(value)) if config.dsn => command.envelope_id = Some(envelope_id(value).ok_or_else(|| bad("needs xtext"))?),
            ("AUTH", Some("<>")) if !config.mechanisms.is_empty() => command.auth = Some(String::new()),
            ("AUTH", Some(value)) if !config.mechanisms.is_empty() => {
                command.auth = Some(decode_xtext(value).ok_or_else(|| bad("needs xtext"))?);
            }
            ("REQUIRETLS", None) if config.requiretls && self.tls.is_some() => command.require_tls = true,
            _ => return self.terms_parameter(command, parameter),
        }
        Ok(())
    }

    /// `None`: no number; `Err`: more than we take (RFC 1870 §6.1).
    fn declared_size(&self, value: &str) -> Option<Result<u64, Reply>> {
        let digits = value.bytes().all(|octet| octet.is_ascii_digit()) && value.len() <= 20;
        let size = digits.then(|| value.parse().unwrap_or(u64::MAX))?;
        Some(if size > self.config.limits.message_octets_max { Err(self.too_big()) } else { Ok(size) })
    }

    fn body_type(&self, value: &str) -> Option<BodyType> {
        match value.to_ascii_uppercase().as_str() {
            "7BIT" => Some(BodyType::SevenBit),
            "8BITMIME" => Some(BodyType::EightBitMime),
            "BINARYMIME" if self.takes_binary() => Some(BodyType::BinaryMime),
            _ => None,
        }
    }

    pub(super) fn takes_binary(&self) -> bool {
        self.config.binary_mime && self.config.chunking
    }

    pub(super) fn too_big(&self) -> Reply {
        let text = format!("The message is larger than {} octets", self.config.limits.message_octets_max);
        Reply::new(552, (5, 3, 4), text)
    }
}

impl MailCommand {
    /// A command without parameters.
    pub fn new(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            size: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            ret: None,
            envelope_id: None,
            auth: None,
            require_tls: false,
            terms: Terms::default(),
            release_request: None,
        }
    }
}

fn mail_fault(fault: &Fault) -> Reply {
    match fault {
        Fault::Keyword | Fault::Brackets => Reply::new(501, (5, 5, 4), "Syntax: MAIL FROM:<address>"),
        Fault::Address(error) => Reply::new(501, (5, 1, 7), format!("Bad sender: {error}")),
        Fault::Parameter => Reply::new(501, (5, 5, 4), "A parameter cannot be read"),
    }
}

pub(super) fn bad_parameter(parameter: &Parameter<'_>, why: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("{} {why}", parameter.keyword.to_ascii_uppercase()))
}

/// RFC 5321 §4.1.1.11
pub(super) fn unknown_parameter(parameter: &Parameter<'_>) -> Reply {
    Reply::new(555, (5, 5, 4), format!("{} is not known here", parameter.keyword.to_ascii_uppercase()))
}

fn ret(value: &str) -> Option<Ret> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn envelope_id(value: &str) -> Option<String> {
    if value.len() <= ENVELOPE_ID_OCTETS_MAX { decode_xtext(value) } else { None }
}
