//! MTA hooks: a stage of a transaction as JSON for a web server, and its answer.
//!
//! The form is the one that Stalwart documents as "MTA Hooks" and that hooks in the field speak: one object for each stage with
//! `context`, `envelope` and `message`; `action`, `response` and `modifications` come back. The Internet-Draft of the same name
//! (draft-degennaro-mta-hooks) adds a registration and other names; it is not spoken here.
//!
//! Not HTTP: `net` carries the octets.
//!
//! Deviation: octets of a message that are no UTF-8 reach a hook as U+FFFD, because JSON has no others.

use crate::advice::{Advice, Decision, Modification, Reply};
use crate::limits::Limits;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a hook is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Request {
    pub context: Context,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Content>,
}

/// Who, where and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Context {
    /// `CONNECT`, `EHLO`, `MAIL`, `RCPT` or `DATA`.
    pub stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    pub client: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    pub server: Server,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    pub protocol: Protocol,
}

/// Who signed in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Sasl {
    pub login: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// Who connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Client {
    pub ip: String,
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ptr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ehlo: Option<String>,
    pub active_connections: u32,
}

impl Client {
    /// A client of which only the address is known.
    pub fn of(address: IpAddr) -> Self {
        Self { ip: address.to_string(), active_connections: 1, ..Self::default() }
    }
}

/// The connection's TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Tls {
    pub version: String,
    pub cipher: String,
    #[serde(rename = "cipherBits", skip_serializing_if = "Option::is_none")]
    pub bits: Option<u16>,
}

/// Ourselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Server {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}

/// The message's receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Queue {
    pub id: String,
}

/// The protocol's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Protocol {
    pub version: u8,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { version: 1 }
    }
}

/// Sender and recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Envelope {
    pub from: Path,
    pub to: Vec<Path>,
}

/// An address with its ESMTP parameters, their names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Path {
    pub address: String,
    pub parameters: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct Content {
    pub headers: Vec<(String, String)>,
    /// Fields of our own trace.
    pub server_headers: Vec<(String, String)>,
    /// The body.
    pub contents: String,
    /// Octets of the message as it came.
    pub size: u64,
}

impl Request {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What a hook answers.
#[derive(Debug, Deserialize)]
struct Answer {
    action: Action,
    #[serde(default)]
    response: Option<Words>,
    #[serde(default)]
    modifications: Option<Vec<Edit>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    Accept,
    Discard,
    Reject,
    Quarantine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Words {
    status: Option<u16>,
    enhanced_status: Option<String>,
    message: Option<String>,
    disconnect: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
enum Edit {
    ChangeFrom {
        value: String,
        #[serde(default)]
        parameters: Option<serde_json::Value>,
    },
    #[serde(alias = "addRcpt")]
    AddRecipient {
        value: String,
        #[serde(default)]
        parameters: Option<serde_json::Value>,
    },
    #[serde(alias = "deleteRcpt")]
    DeleteRecipient {
        value: String,
    },
    ReplaceContents {
        value: String,
    },
    AddHeader {
        name: String,
        value: String,
    },
    InsertHeader {
        index: u32,
        name: String,
        value: String,
    },
    ChangeHeader {
        index: u32,
        name: String,
        value: String,
    },
    DeleteHeader {
        index: u32,
        name: String,
    },
}

/// Reads a hook's answer. `at_end`: it is about a whole message, which it may change; elsewhere its changes are dropped.
///
/// # Errors
/// When it is none, in words.
pub fn advice(octets: &[u8], at_end: bool, limits: &Limits) -> Result<Advice, String> {
    let answer: Answer = serde_json::from_slice(octets).map_err(|error| format!("its answer cannot be read: {error}"))?;
    let changes = answer.modifications.unwrap_or_default();
    if changes.len() > limits.modifications_max {
        return Err("it wants to change too much".to_owned());
    }
    let mut modifications: Vec<Modification> = changes.into_iter().filter(|_| at_end).map(Modification::from).collect();
    let too_large = |one: &Modification| matches!(one, Modification::ReplaceBody(body) if body.len() > limits.body_octets_max);
    if modifications.iter().any(too_large) {
        return Err("it makes the message too large".to_owned());
    }
    let words = answer.response.unwrap_or_default();
    let decision = match answer.action {
        Action::Accept => Decision::Continue,
        Action::Discard => Decision::Discard,
        Action::Reject => words.refusal(),
        Action::Quarantine => {
            modifications.push(Modification::Quarantine(words.message.unwrap_or_default()));
            Decision::Continue
        }
    };
    Ok(Advice { decision, modifications })
}

impl Words {
    /// A refusal without a code is for good. To disconnect is 421's to say: the message may come again.
    fn refusal(&self) -> Decision {
        let text = self.message.as_deref().unwrap_or_default();
        let status = self.enhanced_status.as_deref().and_then(|status| status.parse().ok());
        let code = if self.disconnect && self.status.is_none_or(|code| code < 500) { Some(421) } else { self.status };
        match code.and_then(|code| Reply::new(code, status, text)) {
            Some(reply) if !reply.is_permanent() => Decision::Defer(Some(reply)),
            Some(reply) => Decision::Reject(Some(reply)),
            None if text.is_empty() => Decision::Reject(None),
            None => Decision::Reject(Reply::new(550, status, text)),
        }
    }
}

impl From<Edit> for Modification {
    fn from(edit: Edit) -> Self {
        // What stands behind the colon begins with a blank.
        let written = |value: &str| [" ", value.trim_start_matches(' ')].concat().into_bytes();
        let parameters = |given: Option<serde_json::Value>| given.map(|given| given.to_string()).unwrap_or_default();
        match edit {
            Edit::ChangeFrom { value, parameters: given } => Self::ChangeFrom { address: value, parameters: parameters(given) },
            Edit::AddRecipient { value, parameters: given } => Self::AddRecipient { address: value, parameters: parameters(given) },
            Edit::DeleteRecipient { value } => Self::DeleteRecipient(value),
            Edit::ReplaceContents { value } => Self::ReplaceBody(value.into_bytes()),
            Edit::AddHeader { name, value } => Self::AddHeader { name, value: written(&value) },
            Edit::InsertHeader { index, name, value } => Self::InsertHeader { index, name, value: written(&value) },
            Edit::ChangeHeader { index, name, value } => Self::ChangeHeader { index, name, value: written(&value) },
            Edit::DeleteHeader { index, name } => Self::DeleteHeader { index, name },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, want: &str) {
        let limits = Limits { modifications_max: 8, body_octets_max: 100, ..Limits::default() };
        let shown = match advice(json.as_bytes(), true, &limits) {
            Ok(Advice { decision, modifications }) => {
                let reply = match &decision {
                    Decision::Reject(Some(reply)) | Decision::Defer(Some(reply)) => {
                        let status = reply.status.map(|status| format!(" {status}")).unwrap_or_default();
                        format!(" {}{status} {}", reply.code, reply.text)
                    }
                    _ => String::new(),
                };
                let changes = modifications.iter().map(|one| format!(", {one}")).collect::<Vec<_>>().concat();
                format!("{}{reply}{changes}", decision.word())
            }
            Err(why) => format!("error: {}", why.split(" at line").next().unwrap_or_default()),
        };
        assert_eq!(shown, want, "{json}");
    }

    #[test]
    fn answers_are_read() {
        check(r#"{"action":"accept"}"#, "continue");
        check(r#"{"action":"accept","response":null,"modifications":null,"more":1}"#, "continue");
        check(r#"{"action":"discard","modifications":[]}"#, "discard");
        check(r#"{"action":"reject"}"#, "reject");
        check(r#"{"action":"reject","response":{"message":"no"}}"#, "reject 550 no");
        check(
            r#"{"action":"reject","response":{"status":554,"enhancedStatus":"5.7.1","message":"no","disconnect":false}}"#,
            "reject 554 5.7.1 no",
        );
        check(r#"{"action":"reject","response":{"status":451,"enhancedStatus":"4.7.1","message":"later"}}"#, "defer 451 4.7.1 later");
        check(r#"{"action":"reject","response":{"message":"go away","disconnect":true}}"#, "defer 421 go away");
        check(r#"{"action":"reject","response":{"status":250,"message":"odd"}}"#, "reject 550 odd");
        check(r#"{"action":"quarantine","response":{"message":"odd"}}"#, "continue, quarantine: odd");
        check(
            r#"{"action":"dance"}"#,
            "error: its answer cannot be read: unknown variant `dance`, expected one of `accept`, `discard`, `reject`, `quarantine`",
        );
        check("", "error: its answer cannot be read: EOF while parsing a value");
        check("[]", "error: its answer cannot be read: invalid length 0, expected struct Answer with 3 elements");
    }

    #[test]
    fn changes_are_read() {
        let all = r#"{"action":"accept","modifications":[
            {"type":"changeFrom","value":"new@a.example","parameters":{"size":5}},
            {"type":"addRecipient","value":"tom@a.example","parameters":null},
            {"type":"addRcpt","value":"ann@a.example"},
            {"type":"deleteRcpt","value":"bob@a.example"},
            {"type":"addHeader","name":"X-A","value":"one"},
            {"type":"insertHeader","index":1,"name":"X-B","value":"two"},
            {"type":"changeHeader","index":4,"name":"Subject","value":"three"},
            {"type":"deleteHeader","index":1,"name":"X-Mailer"}]}"#;
        let want = "continue, change reverse-path to new@a.example, add recipient tom@a.example, add recipient ann@a.example, \
                    delete recipient bob@a.example, add header X-A: one, insert header 1 X-B: two, change header 4 Subject: three, \
                    delete header 1 X-Mailer";
        check(all, want);
        check(r#"{"action":"accept","modifications":[{"type":"replaceContents","value":"x"}]}"#, "continue, replace the body by 1 octets");
        check(
            r#"{"action":"accept","modifications":[{"type":"explode"}]}"#.replace("explode", "addHeader").as_str(),
            "error: its answer cannot be read: missing field `name`",
        );
        let many = format!(r#"{{"action":"accept","modifications":[{}]}}"#, [r#"{"type":"deleteRcpt","value":"a@b"}"#; 9].join(","));
        check(&many, "error: it wants to change too much");
        let long = format!(r#"{{"action":"accept","modifications":[{{"type":"replaceContents","value":"{}"}}]}}"#, "x".repeat(101));
        check(&long, "error: it makes the message too large");
    }

    #[test]
    fn only_a_whole_message_can_be_changed() {
        let json = br#"{"action":"accept","modifications":[{"type":"addHeader","name":"a","value":"b"}]}"#;
        assert_eq!(advice(json, false, &Limits::default()), Ok(Advice::of(Decision::Continue)));
    }

    #[test]
    fn requests_have_the_names_of_the_protocol() {
        let request = Request {
            context: Context {
                stage: "DATA",
                sasl: Some(Sasl { login: "ann@a.example".to_owned(), method: Some("PLAIN".to_owned()) }),
                client: Client { ehlo: Some("h".to_owned()), ..Client::of("192.0.2.1".parse().unwrap()) },
                tls: Some(Tls { version: "TLSv1.3".to_owned(), cipher: "X".to_owned(), bits: None }),
                server: Server { name: Some("mx".to_owned()), port: 25, ip: None },
                queue: Some(Queue { id: "Q1".to_owned() }),
                protocol: Protocol::default(),
            },
            envelope: Some(Envelope {
                from: Path { address: "a@b".to_owned(), parameters: None },
                to: vec![Path { address: "c@d".to_owned(), parameters: None }],
            }),
            message: Some(Content {
                headers: vec![("From".to_owned(), "a@b".to_owned())],
                server_headers: Vec::new(),
                contents: "x\r\n".to_owned(),
                size: 20,
            }),
        };
        let want = r#"{"context":{"stage":"DATA","sasl":{"login":"ann@a.example","method":"PLAIN"},"client":{"ip":"192.0.2.1","port":0,"ehlo":"h","activeConnections":1},"tls":{"version":"TLSv1.3","cipher":"X"},"server":{"name":"mx","port":25},"queue":{"id":"Q1"},"protocol":{"version":1}},"envelope":{"from":{"address":"a@b","parameters":null},"to":[{"address":"c@d","parameters":null}]},"message":{"headers":[["From","a@b"]],"serverHeaders":[],"contents":"x\r\n","size":20}}"#;
        assert_eq!(String::from_utf8(request.to_bytes()).unwrap(), want);
    }
}
