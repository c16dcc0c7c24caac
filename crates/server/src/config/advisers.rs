//! `[[milter]]` and `[[mta_hook]]`: programs outside that are asked about mail.

use super::{Octets, Span, wrong};
use mta::advisers::{HookStage, OnFailure};
use net::Endpoint;
use net::web::Url;
use serde::{Deserialize, Serialize};
use smtp::server::Role;
use std::path::PathBuf;

/// `[[milter]]`: a program that speaks the milter protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milter {
    /// Its name in logs and trails.
    pub name: String,
    /// `HOST:PORT` or `unix:/PATH`.
    pub address: String,
    /// Whose mail it is asked about.
    #[serde(default = "every_listener")]
    pub listeners: Vec<ListenerKind>,
    /// How long connecting may take.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How long an answer to a stage of the envelope may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// How long an answer to the message may take.
    #[serde(default = "message_timeout")]
    pub message_timeout: Span,
    /// What happens when it cannot be asked.
    #[serde(default)]
    pub on_failure: WhenFailed,
    /// The largest message it is shown.
    #[serde(default = "message_octets")]
    pub message_octets: Octets,
}

/// `[[mta_hook]]`: a web server that speaks MTA hooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtaHook {
    /// Its name in logs and trails.
    pub name: String,
    /// `http://` or `https://`.
    pub url: String,
    /// Of which stages it hears.
    #[serde(default = "data_only")]
    pub stages: Vec<Stage>,
    /// Whose mail it is asked about.
    #[serde(default = "every_listener")]
    pub listeners: Vec<ListenerKind>,
    /// File with the login on its first line and the password on its second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// File with a bearer token on its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// How long connecting may take.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How long an answer may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// What happens when it cannot be asked.
    #[serde(default)]
    pub on_failure: WhenFailed,
    /// The largest message it is shown.
    #[serde(default = "message_octets")]
    pub message_octets: Octets,
}

/// Where mail comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    /// From other servers.
    Mx,
    /// From our accounts.
    Submission,
}

impl ListenerKind {
    /// The role of a session.
    pub const fn role(self) -> Role {
        match self {
            Self::Mx => Role::Mx,
            Self::Submission => Role::Submission,
        }
    }
}

/// A stage that a hook can hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the stages are SMTP's")]
pub enum Stage {
    Connect,
    Ehlo,
    Mail,
    Rcpt,
    Data,
}

impl Stage {
    /// In the words of the mail path.
    pub const fn stage(self) -> HookStage {
        match self {
            Self::Connect => HookStage::Connect,
            Self::Ehlo => HookStage::Helo,
            Self::Mail => HookStage::Mail,
            Self::Rcpt => HookStage::Rcpt,
            Self::Data => HookStage::Data,
        }
    }
}

/// What happens when one cannot be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFailed {
    /// Mail is refused for now.
    #[default]
    Tempfail,
    /// Mail goes on without its advice.
    Accept,
    /// Mail is refused for good.
    Reject,
}

impl WhenFailed {
    /// In the words of the mail path.
    pub const fn on_failure(self) -> OnFailure {
        match self {
            Self::Tempfail => OnFailure::Defer,
            Self::Accept => OnFailure::Accept,
            Self::Reject => OnFailure::Reject,
        }
    }
}

fn every_listener() -> Vec<ListenerKind> {
    vec![ListenerKind::Mx, ListenerKind::Submission]
}

fn data_only() -> Vec<Stage> {
    vec![Stage::Data]
}

const fn connect_timeout() -> Span {
    Span::seconds(10)
}

const fn timeout() -> Span {
    Span::seconds(30)
}

const fn message_timeout() -> Span {
    Span::minutes(5)
}

const fn message_octets() -> Octets {
    Octets(50 << 20)
}

/// A client waits 10 minutes for the reply to its message (RFC 5321 §4.5.3.2.6).
const TIMEOUT_MAX: Span = Span::minutes(9);

impl Milter {
    /// `key` is where it stands in the file: `milter[0]`.
    pub(super) fn check(&self, key: &str) -> Result<(), (String, String)> {
        check_name(key, &self.name)?;
        if let Err(error) = self.address.parse::<Endpoint>() {
            return wrong(&format!("{key}.address"), &format!("{error}, e.g. \"127.0.0.1:11332\" or \"unix:/run/opendkim/opendkim.sock\""));
        }
        check_listeners(key, &self.listeners)?;
        let spans = [("connect_timeout", self.connect_timeout), ("timeout", self.timeout), ("message_timeout", self.message_timeout)];
        spans.into_iter().try_for_each(|(name, span)| check_timeout(key, name, span))
    }
}

impl MtaHook {
    /// `key` is where it stands in the file: `mta_hook[0]`.
    pub(super) fn check(&self, key: &str) -> Result<(), (String, String)> {
        check_name(key, &self.name)?;
        if let Err(error) = self.url.parse::<Url>() {
            return wrong(&format!("{key}.url"), &format!("{error}, e.g. \"http://127.0.0.1:8080/hook\""));
        }
        if self.credentials_file.is_some() && self.token_file.is_some() {
            return wrong(&format!("{key}.token_file"), "expected either credentials_file or token_file, not both");
        }
        if self.stages.is_empty() {
            return wrong(&format!("{key}.stages"), "expected at least one of connect, ehlo, mail, rcpt, data");
        }
        check_listeners(key, &self.listeners)?;
        [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)]
            .into_iter()
            .try_for_each(|(name, span)| check_timeout(key, name, span))
    }
}

fn check_name(key: &str, name: &str) -> Result<(), (String, String)> {
    let plain = !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_graphic());
    if plain { Ok(()) } else { wrong(&format!("{key}.name"), "expected a name of 1 to 64 letters, digits and signs, without blanks") }
}

fn check_listeners(key: &str, listeners: &[ListenerKind]) -> Result<(), (String, String)> {
    if listeners.is_empty() { wrong(&format!("{key}.listeners"), "expected mx, submission or both") } else { Ok(()) }
}

fn check_timeout(key: &str, name: &str, span: Span) -> Result<(), (String, String)> {
    let fits = !span.0.is_zero() && span <= TIMEOUT_MAX;
    if fits { Ok(()) } else { wrong(&format!("{key}.{name}"), "expected a span from 1s to 9m: the other side waits 10m for its reply") }
}

/// Every pair of names that are the same would make trails ambiguous.
pub(super) fn check_names(milters: &[Milter], hooks: &[MtaHook]) -> Result<(), (String, String)> {
    let names: Vec<&String> = milters.iter().map(|one| &one.name).chain(hooks.iter().map(|one| &one.name)).collect();
    let twice = names.iter().enumerate().find(|(place, name)| names.iter().take(*place).any(|other| other == *name));
    let Some((place, name)) = twice else { return Ok(()) };
    let key = if place < milters.len() { format!("milter[{place}].name") } else { format!("mta_hook[{}].name", place - milters.len()) };
    wrong(&key, &format!("{name:?} is another's name already"))
}
