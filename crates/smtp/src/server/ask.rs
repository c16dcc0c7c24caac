//! What a server session asks, and what it may be answered.

use crate::Reply;
use mail::{BodyType, Late, Priority, Recipient, Ret, ReversePath, Terms};
use std::fmt;
use std::net::IpAddr;
use wire::Tls;
use wire::sasl::{SaslAnswer, SaslAsk};

/// A question of the server session. The envelope accepted so far is for the handler to keep.
#[derive(PartialEq, Eq)]
pub enum Ask {
    /// A connection: may it speak? [`Answer::Taken`] or 2xx greets it; 4xx and 5xx are said instead of the
    /// greeting, and the peer can only QUIT (RFC 5321 §3.1), or with 421 nothing at all.
    Connect,
    /// EHLO, HELO or LHLO. [`Answer::Taken`] or 2xx welcomes; the session writes the reply and the extensions.
    Helo {
        /// What the peer calls itself: any text without blanks, at most 255 octets.
        name: String,
        /// EHLO or LHLO.
        esmtp: bool,
        /// The connection's TLS, where there is any by now.
        tls: Option<Tls>,
    },
    /// AUTH needs to know something; [`Answer::Auth`].
    Auth(SaslAsk),
    /// AUTH succeeded. [`Answer::Taken`] or 2xx: 235; 4xx and 5xx are said instead.
    Authenticated {
        /// The account's id.
        account: u32,
        /// Its login name.
        login: String,
    },
    /// MAIL: a transaction wants to begin; [`Answer::Reply`].
    Mail(MailCommand),
    /// RCPT; [`Answer::Reply`].
    Rcpt(Recipient),
    /// Octets of the message, unstuffed, at most 65,536. The peer is not read before [`Answer::Taken`].
    /// A 4xx or 5xx ends the transaction: the rest is read and dropped, then the reply is said, and neither
    /// [`Ask::Data`] nor [`Ask::Reset`] follows.
    Body(Vec<u8>),
    /// The end of the message: a 2xx takes responsibility for it. The transaction ends whatever the answer is.
    Data {
        /// The last octets of the message; all of it, if there was no [`Ask::Body`].
        last: Vec<u8>,
    },
    /// The transaction is abandoned, by RSET, EHLO or because the session refuses the message; [`Answer::Taken`].
    Reset,
    /// VRFY. [`Answer::Taken`]: 252 (RFC 5321 §7.3).
    Verify(String),
    /// EXPN: who is behind this address? [`Answer::Taken`]: 502 (RFC 5321 §3.5.1). A reply of several lines has one for
    /// each member.
    Expand(String),
    /// XCLIENT: the peer, a proxy of ours, speaks for somebody else from here on. [`Answer::Taken`]: [`Ask::Connect`]
    /// follows, and the session begins anew; 4xx and 5xx refuse.
    Client(ClientClaim),
    /// ETRN: mail for this node is wanted now (RFC 1985). [`Answer::Taken`]: 250; 458 and 459 refuse.
    Etrn(String),
}

/// An answer to the session's question. One of the wrong kind is taken for 451 4.3.0.
#[derive(PartialEq, Eq)]
pub enum Answer {
    /// What the peer hears.
    Reply(Reply),
    /// The account store's answer to [`Ask::Auth`].
    Auth(SaslAnswer),
    /// Go on.
    Taken,
    /// LMTP's answer to [`Ask::Data`]: one for each accepted recipient, in the order of RCPT.
    Replies(Vec<Reply>),
}

/// For whom a proxy speaks (XCLIENT); what it does not say, or does not know, is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientClaim {
    /// `NAME=`: the name behind the client's address.
    pub name: Option<String>,
    /// `ADDR=`
    pub address: Option<IpAddr>,
    /// `PORT=`
    pub port: Option<u16>,
    /// `PROTO=`: whether it is ESMTP.
    pub esmtp: Option<bool>,
    /// `HELO=`: what the client calls itself.
    pub helo: Option<String>,
    /// `LOGIN=`: as whom it has signed in with the proxy.
    pub login: Option<String>,
    /// `DESTADDR=`: where it connected to.
    pub destination: Option<IpAddr>,
    /// `DESTPORT=`
    pub destination_port: Option<u16>,
}

/// What was said of it.
impl fmt::Display for ClientClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        let mut note = |name: &str, value: Option<String>| said.extend(value.map(|value| format!("{name}={value}")));
        note("name", self.name.clone());
        note("addr", self.address.map(|address| address.to_string()));
        note("port", self.port.map(|port| port.to_string()));
        note("proto", self.esmtp.map(|esmtp| if esmtp { "esmtp" } else { "smtp" }.to_owned()));
        note("helo", self.helo.clone());
        note("login", self.login.clone());
        note("destaddr", self.destination.map(|address| address.to_string()));
        note("destport", self.destination_port.map(|port| port.to_string()));
        f.write_str(&said.join(" "))
    }
}

/// MAIL FROM and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailCommand {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// `SIZE=`, octets, as declared (RFC 1870 §3).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152)
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531)
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3)
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded from xtext (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// `AUTH=`, decoded from xtext, `<>` as an empty text (RFC 4954 §5). Not to be trusted.
    pub auth: Option<String>,
    /// `REQUIRETLS` (RFC 8689 §2); only over TLS.
    pub require_tls: bool,
    /// `MT-PRIORITY=`, `HOLDFOR=`, `HOLDUNTIL=`, `BY=` (RFC 6710, RFC 4865, RFC 2852).
    pub terms: Terms,
    /// `for;SECONDS` or `until;TIME`, as `HOLDFOR=` or `HOLDUNTIL=` said it, for reports (RFC 4865 §4.5).
    pub release_request: Option<String>,
}

/// Bodies longer than this are not shown whole in traces, octets.
const SHOWN_OCTETS_MAX: usize = 256;

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("Connect"),
            Self::Helo { name, esmtp, tls: None } => write!(f, "Helo {{ name: {name:?}, esmtp: {esmtp} }}"),
            Self::Helo { name, esmtp, tls: Some(tls) } => write!(f, "Helo {{ name: {name:?}, esmtp: {esmtp}, tls: {tls:?} }}"),
            Self::Auth(ask) => write!(f, "Auth({ask:?})"),
            Self::Authenticated { account, login } => write!(f, "Authenticated {{ account: {account}, login: {login:?} }}"),
            Self::Mail(command) => write!(f, "Mail({command})"),
            Self::Rcpt(recipient) => write!(f, "Rcpt({})", Shown(recipient)),
            Self::Body(chunk) => write!(f, "Body({})", Octets(chunk)),
            Self::Data { last } => write!(f, "Data {{ last: {} }}", Octets(last)),
            Self::Reset => f.write_str("Reset"),
            Self::Verify(name) => write!(f, "Verify({name:?})"),
            Self::Expand(name) => write!(f, "Expand({name:?})"),
            Self::Client(claim) => write!(f, "Client({claim})"),
            Self::Etrn(node) => write!(f, "Etrn({node:?})"),
        }
    }
}

/// In the words of the transcripts, so that a trace can be played again; only a verifier's keys are missing.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => write!(f, "{}", Escaped(reply)),
            Self::Taken => f.write_str("taken"),
            Self::Replies(replies) => {
                f.write_str("replies ")?;
                replies.iter().enumerate().try_for_each(|(n, reply)| {
                    let gap = if n == 0 { "" } else { " | " };
                    write!(f, "{gap}{}", Escaped(reply))
                })
            }
            Self::Auth(SaslAnswer::Account { account, login }) => write!(f, "account {account} {login}"),
            Self::Auth(SaslAnswer::Refused(failure)) => write!(f, "refused {}", format!("{failure:?}").to_lowercase()),
            Self::Auth(SaslAnswer::Verifier(Some(_))) => f.write_str("verifier [secret]"),
            Self::Auth(SaslAnswer::Verifier(None)) => f.write_str("no verifier"),
            Self::Auth(SaslAnswer::TokenRefused(_)) => f.write_str("token-refused"),
        }
    }
}

/// A reply in one line, its line breaks as `\\n`.
struct Escaped<'a>(&'a Reply);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(status) = self.0.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.0.text.replace('\n', "\\n"))
    }
}

/// The command with the parameters that were given.
impl fmt::Display for MailCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.reverse_path)?;
        self.size.map_or(Ok(()), |size| write!(f, " size={size}"))?;
        match self.body {
            BodyType::SevenBit => {}
            BodyType::EightBitMime => f.write_str(" body=8bitmime")?,
            BodyType::BinaryMime => f.write_str(" body=binarymime")?,
        }
        if self.smtputf8 {
            f.write_str(" smtputf8")?;
        }
        self.ret.map_or(Ok(()), |ret| write!(f, " ret={ret:?}"))?;
        self.envelope_id.as_ref().map_or(Ok(()), |id| write!(f, " envid={id:?}"))?;
        self.auth.as_ref().map_or(Ok(()), |auth| write!(f, " auth={auth:?}"))?;
        if self.require_tls {
            f.write_str(" requiretls")?;
        }
        write_terms(&self.terms, f)
    }
}

/// Times as they were understood.
fn write_terms(terms: &Terms, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if terms.priority != Priority::NORMAL {
        write!(f, " priority={}", terms.priority)?;
    }
    terms.hold_until.map_or(Ok(()), |at| write!(f, " hold={}", mail::date::rfc3339(at)))?;
    let Some(by) = terms.deliver_by else { return Ok(()) };
    let late = if by.late == Late::Return { "return" } else { "notify" };
    write!(f, " by={} {late}{}", mail::date::rfc3339(by.at), if by.trace { " trace" } else { "" })
}

struct Shown<'a>(&'a Recipient);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recipient { address, notify, original } = self.0;
        write!(f, "<{address}>")?;
        if let Some(notify) = notify {
            let mail::Notify { success, failure, delay } = *notify;
            let reports = [(success, "success"), (failure, "failure"), (delay, "delay")];
            let wanted: Vec<_> = reports.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name).collect();
            write!(f, " notify={}", if wanted.is_empty() { "never".to_owned() } else { wanted.join(",") })?;
        }
        original.as_ref().map_or(Ok(()), |original| write!(f, " orcpt={original:?}"))
    }
}

struct Octets<'a>(&'a [u8]);

impl fmt::Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > SHOWN_OCTETS_MAX {
            return write!(f, "{} octets", self.0.len());
        }
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
