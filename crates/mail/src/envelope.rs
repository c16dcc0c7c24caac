//! The envelope of SMTP: reverse-path and recipients with their parameters (RFC 5321 §2.3.1).
//!
//! Not IMAP's ENVELOPE, which is `EnvelopeItem`.

use crate::address::Address;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where failures are reported: an address, or nowhere (`MAIL FROM:<>`, RFC 5321 §4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ReversePath(pub Option<Address>);

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |address| fmt::Display::fmt(address, f))
    }
}

/// What the octets of the message may be (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BodyType {
    /// Seven-bit lines.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`
    EightBitMime,
    /// `BODY=BINARYMIME`
    BinaryMime,
}

/// How much of the message a failure report carries (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ret {
    /// `RET=FULL`
    Full,
    /// `RET=HDRS`
    Headers,
}

/// Which reports the sender wants for a recipient (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// `NOTIFY=SUCCESS`
    pub success: bool,
    /// `NOTIFY=FAILURE`
    pub failure: bool,
    /// `NOTIFY=DELAY`
    pub delay: bool,
}

impl Notify {
    /// `NOTIFY=NEVER`
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// What holds where no NOTIFY was given: failures, and delays at our discretion (RFC 3461 §4.1).
impl Default for Notify {
    fn default() -> Self {
        Self { success: false, failure: true, delay: true }
    }
}

/// What the sender says of TLS on the way of the message (RFC 8689).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum TlsDemand {
    /// Nothing: what the recipient's domain and our settings say.
    #[default]
    ByPolicy,
    /// `REQUIRETLS`: verified TLS all the way, or a report that it failed.
    Required,
    /// `TLS-Required: No`: rather in clear than not at all.
    Optional,
}

/// One recipient and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// `NOTIFY=`, if it was given.
    pub notify: Option<Notify>,
    /// `ORCPT=`, decoded from xtext: `rfc822;ann@example.org` (RFC 3461 §4.2).
    pub original: Option<String>,
}

impl Recipient {
    /// A recipient without parameters.
    pub fn new(address: Address) -> Self {
        Self { address, notify: None, original: None }
    }
}

/// The envelope of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// `MAIL FROM`
    pub reverse_path: ReversePath,
    /// Every accepted `RCPT TO`.
    pub recipients: Vec<Recipient>,
    /// `BODY=`
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531 §3.4)
    pub smtputf8: bool,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded from xtext (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// `REQUIRETLS` (RFC 8689 §2)
    pub require_tls: bool,
}
