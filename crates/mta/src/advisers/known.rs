//! What is known of a client and its transaction, in the words of milters and hooks.

use mail::{Address, BodyType, ReceiptId, Recipient};
use milter::Symbols;
use milter::hook::{Client, Context, Envelope, Path, Queue, Sasl, Server};
use milter::session::Step;
use serde_json::{Map, Value};
use smtp::server::{MailCommand, Role};
use std::net::IpAddr;
use wire::Tls;

/// What is known of a client and its transaction.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Our own name.
    pub(crate) hostname: String,
    pub(crate) role: Role,
    pub(crate) peer: IpAddr,
    /// Its name, if a proxy of ours has told it.
    pub(crate) peer_name: Option<String>,
    pub(crate) helo: String,
    pub(crate) tls: Option<Tls>,
    /// Who signed in, and how.
    pub(crate) login: Option<(String, &'static str)>,
    pub(crate) receipt: Option<ReceiptId>,
    pub(crate) mail: Option<MailCommand>,
    /// Those accepted so far, and the one in question.
    pub(crate) recipients: Vec<Recipient>,
}

impl Known {
    pub(super) fn connect(&self) -> Step {
        Step::Connect { name: self.client_name(), address: self.peer, port: 0 }
    }

    pub(super) fn helo(&self) -> Step {
        Step::Helo(self.helo.clone())
    }

    pub(super) fn mail(&self) -> Step {
        let Some(command) = &self.mail else { return Step::Mail(vec!["<>".to_owned()]) };
        let mut arguments = vec![format!("<{}>", command.reverse_path)];
        arguments.extend(parameters(command).into_iter().map(|(name, value)| written(name, value)));
        Step::Mail(arguments)
    }

    pub(super) fn rcpt(&self, refused: bool) -> Step {
        let arguments = self.recipients.last().map(|last| vec![format!("<{}>", last.address)]).unwrap_or_default();
        Step::Rcpt { arguments, refused }
    }

    /// Its name where that is known, or its address in brackets: names in DNS are not asked for.
    fn client_name(&self) -> String {
        self.peer_name.clone().unwrap_or_else(|| format!("[{}]", self.peer))
    }

    /// What the role is called: Sendmail's names of its listeners.
    const fn daemon(&self) -> &'static str {
        match self.role {
            Role::Mx => "smtp",
            Role::Submission => "submission",
            Role::Lmtp => "lmtp",
        }
    }

    /// Every macro that has a value by now.
    pub(super) fn symbols(&self) -> Symbols {
        let mut symbols = Symbols::default();
        symbols.set("j", self.hostname.clone());
        symbols.set("v", concat!("Postrider ", env!("CARGO_PKG_VERSION")));
        symbols.set("_", self.client_name());
        symbols.set("{daemon_name}", self.daemon());
        symbols.set("{if_name}", self.hostname.clone());
        symbols.set("{client_addr}", self.peer.to_string());
        symbols.set("{client_name}", self.client_name());
        symbols.set("{client_ptr}", "unknown");
        symbols.set("s", self.helo.clone());
        if let Some(tls) = &self.tls {
            symbols.set("{tls_version}", tls.version.clone());
            symbols.set("{cipher}", tls.cipher.clone());
            symbols.set("{cipher_bits}", bits(&tls.cipher).map(|bits| bits.to_string()).unwrap_or_default());
        }
        if let Some((login, mechanism)) = &self.login {
            symbols.set("{auth_authen}", login.clone());
            symbols.set("{auth_type}", *mechanism);
        }
        symbols.set("i", self.receipt.map(|receipt| receipt.to_string()).unwrap_or_default());
        if let Some(command) = &self.mail {
            symbols.set("{mail_addr}", command.reverse_path.to_string());
            symbols.set("{mail_host}", command.reverse_path.0.as_ref().map(host).unwrap_or_default());
            symbols.set("{mail_mailer}", "smtp");
        }
        if let Some(last) = self.recipients.last() {
            symbols.set("{rcpt_addr}", last.address.to_string());
            symbols.set("{rcpt_host}", host(&last.address));
            symbols.set("{rcpt_mailer}", "smtp");
        }
        symbols
    }

    /// The same for hooks.
    pub(super) fn context(&self, stage: &'static str) -> Context {
        let port = if self.role == Role::Mx { 25 } else { 587 };
        let tls = self.tls.as_ref();
        Context {
            stage,
            sasl: self.login.as_ref().map(|(login, method)| Sasl { login: login.clone(), method: Some((*method).to_owned()) }),
            client: Client { ehlo: Some(self.helo.clone()).filter(|helo| !helo.is_empty()), ..Client::of(self.peer) },
            tls: tls.map(|tls| milter::hook::Tls { version: tls.version.clone(), cipher: tls.cipher.clone(), bits: bits(&tls.cipher) }),
            server: Server { name: Some(self.hostname.clone()), port, ip: None },
            queue: self.receipt.map(|receipt| Queue { id: receipt.to_string() }),
            ..Context::default()
        }
    }

    /// The envelope so far; none before MAIL.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let command = self.mail.as_ref()?;
        let said: Map<String, Value> = parameters(command)
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.map_or(Value::Null, Value::String)))
            .collect();
        let from = Path { address: command.reverse_path.to_string(), parameters: Some(said).filter(|said| !said.is_empty()) };
        let to = self.recipients.iter().map(|recipient| Path {
            address: recipient.address.to_string(),
            parameters: recipient.original.as_ref().map(|original| Map::from_iter([("orcpt".to_owned(), Value::String(original.clone()))])),
        });
        Some(Envelope { from, to: to.collect() })
    }
}

fn host(address: &Address) -> String {
    address.domain().to_string()
}

/// MAIL's parameters that advisers know what to do with.
fn parameters(command: &MailCommand) -> Vec<(&'static str, Option<String>)> {
    let body = match command.body {
        BodyType::SevenBit => None,
        BodyType::EightBitMime => Some("8BITMIME"),
        BodyType::BinaryMime => Some("BINARYMIME"),
    };
    let mut parameters = Vec::new();
    parameters.extend(command.size.map(|size| ("SIZE", Some(size.to_string()))));
    parameters.extend(body.map(|body| ("BODY", Some(body.to_owned()))));
    parameters.extend(command.smtputf8.then_some(("SMTPUTF8", None)));
    parameters.extend(command.require_tls.then_some(("REQUIRETLS", None)));
    parameters
}

fn written(name: &str, value: Option<String>) -> String {
    value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"))
}

/// The strength of a cipher suite, by its name.
fn bits(cipher: &str) -> Option<u16> {
    [("AES_256", 256), ("AES_128", 128), ("CHACHA20", 256)].into_iter().find(|(name, _)| cipher.contains(name)).map(|(_, bits)| bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strength_of_ciphers_is_in_their_names() {
        for (cipher, want) in [("TLS13_AES_256_GCM_SHA384", Some(256)), ("TLS13_AES_128_GCM_SHA256", Some(128)), ("NULL", None)] {
            assert_eq!(bits(cipher), want, "{cipher}");
        }
        assert_eq!(bits("TLS13_CHACHA20_POLY1305_SHA256"), Some(256));
    }
}
