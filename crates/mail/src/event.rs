//! What each stage decided about a message, and why: the entries of its trail.
//!
//! Events are stored in a compact form that knows variants and fields by their place.
//!
//! Invariant: variants are only added at the end, fields never change; `store` keeps fixtures of
//! every released form.

use crate::address::Address;
use crate::envelope::ReversePath;
use crate::id::{AccountId, EmailId, MailboxId, ReceiptId, Uid};
use crate::lookup::Recorded;
use crate::status::EnhancedStatus;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One event and when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// How a message came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// From another server, on the MX port.
    Mx,
    /// From one of our accounts, on a submission port.
    Submission,
    /// From a local program over LMTP.
    Lmtp,
    /// Made here: a bounce, a delay warning, a forwarded copy.
    Local,
}

/// A decision about a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The message was taken into our care: this is what stands behind the 250.
    Accepted {
        /// How it came.
        source: Source,
        /// Whose connection it was; none for messages made here.
        peer: Option<IpAddr>,
        /// What the peer called itself.
        helo: String,
        /// The TLS version and cipher, if any.
        tls: Option<String>,
        /// Who signed in, if anyone.
        account: Option<AccountId>,
        /// The envelope's sender.
        reverse_path: ReversePath,
        /// The `Message-ID`, without brackets.
        message_id: Option<String>,
        /// Octets of the message as stored.
        octets: u64,
    },
    /// A recipient was found to be one of ours, or not.
    Resolved {
        /// As the sender wrote it.
        recipient: Address,
        /// Where it leads: accounts and addresses elsewhere, in words.
        targets: Vec<String>,
    },
    /// A recipient was refused; the others, if any, went on.
    Refused {
        /// As the sender wrote it.
        recipient: Address,
        /// SMTP code.
        code: u16,
        /// Enhanced status.
        status: EnhancedStatus,
        /// The reply's words.
        text: String,
    },
    /// Stored in a mailbox.
    Delivered {
        /// As the sender wrote it.
        recipient: Address,
        /// Whose mailbox.
        account: AccountId,
        /// Which.
        mailbox: MailboxId,
        /// As what.
        email: EmailId,
        /// Under which Uid.
        uid: Uid,
    },
    /// Put into the queue for another server.
    Queued {
        /// To whom.
        recipient: Address,
    },
    /// One attempt to hand a recipient to another server.
    Attempted {
        /// To whom.
        recipient: Address,
        /// The host tried, as the route or MX named it.
        host: String,
        /// Its address, if one was found.
        address: Option<IpAddr>,
        /// The TLS version and cipher, if any.
        tls: Option<String>,
        /// What it answered, or what went wrong, in words.
        reply: String,
        /// SMTP code, if there was an answer.
        code: Option<u16>,
        /// Enhanced status, given by the peer or by us.
        status: Option<EnhancedStatus>,
        /// From the start of the attempt to its outcome, milliseconds.
        millis: u64,
    },
    /// Another server has taken responsibility for this recipient.
    Relayed {
        /// To whom.
        recipient: Address,
        /// Which host.
        host: String,
    },
    /// It will be tried again.
    Deferred {
        /// To whom.
        recipient: Address,
        /// When next.
        until: Timestamp,
        /// Why, in words.
        reason: String,
    },
    /// It will not be tried again.
    Failed {
        /// To whom.
        recipient: Address,
        /// Enhanced status.
        status: EnhancedStatus,
        /// Why, in words.
        reason: String,
    },
    /// The sender was told of a failure or a delay by a message of its own.
    Reported {
        /// `failed`, `delayed`, `delivered`, `relayed` or `expanded`.
        action: String,
        /// To whom the report went.
        to: Address,
        /// The report's own receipt.
        receipt: ReceiptId,
    },
    /// Nobody wants to hear of it: a failed report, or NOTIFY=NEVER.
    Discarded {
        /// To whom it was.
        recipient: Address,
        /// Why, in words.
        reason: String,
    },
    /// An administrator held, released, retried, bounced or dropped it.
    Handled {
        /// `hold`, `release`, `retry`, `bounce` or `drop`.
        action: String,
        /// Which recipient; none means all that were open.
        recipient: Option<Address>,
    },
    /// It was found out who the message is from.
    Authenticated {
        /// Every result, as the Authentication-Results field has them (RFC 8601), on one line.
        results: String,
        /// What the author's domain asks for: `none`, `quarantine` or `reject`.
        asked: String,
        /// The answers of DNS it rests on.
        answers: Recorded,
    },
    /// It was decided whether an account wants it.
    Judged {
        /// Whose reader.
        account: AccountId,
        /// It goes into Junk.
        is_junk: bool,
        /// Hundredths of a point; above zero against it.
        score: i32,
        /// Hundredths of a point, and what they are for; the weightiest first.
        reasons: Vec<(i32, String)>,
        /// Log-odds and feature: what the teaching rests on, the strongest first.
        telling: Vec<(String, String)>,
    },
    /// It leaves us for an address elsewhere that one of ours leads to.
    Forwarded {
        /// As the sender wrote it.
        recipient: Address,
        /// Where it goes.
        to: Address,
        /// With which reverse-path.
        return_path: ReversePath,
        /// Why those who get it will take it for genuine, in words.
        reason: String,
    },
    /// It was not forwarded to an address elsewhere that one of ours leads to: it is kept here instead.
    NotForwarded {
        /// As the sender wrote it.
        recipient: Address,
        /// Where it would have gone.
        to: Address,
        /// Why, in words.
        reason: String,
    },
    /// What a failed attempt means, in one word.
    Classified {
        /// To whom.
        recipient: Address,
        /// `bad-mailbox`, `our-address-blocked` …
        class: String,
    },
    /// A server that had taken it told later that it could not deliver it.
    Returned {
        /// To whom it was.
        recipient: Address,
        /// The report's own receipt.
        receipt: ReceiptId,
        /// Enhanced status, if the report has one.
        status: Option<EnhancedStatus>,
        /// What it means, in one word.
        class: String,
        /// What the report says, in words.
        reason: String,
    },
    /// Its destination refuses our address: it goes over the relay instead.
    Detoured {
        /// To whom.
        recipient: Address,
        /// The relay.
        relay: String,
        /// What the destination said.
        reason: String,
    },
    /// A program outside, a milter or a hook, was asked about it.
    Advised {
        /// Its name in the settings.
        by: String,
        /// `continue`, `accept`, `discard`, `reject`, `defer`, `quarantine`, or `none` where it could not be asked.
        decision: String,
        /// What it changed, or why it was not asked, in words.
        changes: Vec<String>,
        /// From the end of the message to its last word, milliseconds.
        millis: u64,
    },
    /// It waits in its sender's Outbox.
    Held {
        /// When it may leave.
        until: Timestamp,
        /// Whose Outbox.
        account: AccountId,
        /// Its mailbox.
        mailbox: MailboxId,
        /// The sender's copy.
        email: EmailId,
        /// Under which Uid.
        uid: Uid,
    },
    /// Its time came: from here on it is on its way.
    Released {
        /// Whose Outbox it was in.
        account: AccountId,
    },
    /// It was taken out of the Outbox before its time, and is not sent.
    Withdrawn {
        /// Whose Outbox it was in.
        account: AccountId,
    },
    /// Nothing was taken: the message was refused as a whole at its end.
    Rejected {
        /// How it came.
        source: Source,
        /// Whose connection it was.
        peer: Option<IpAddr>,
        /// What the peer called itself.
        helo: String,
        /// The TLS version and cipher, if any.
        tls: Option<String>,
        /// Who signed in, if anyone.
        account: Option<AccountId>,
        /// The envelope's sender.
        reverse_path: ReversePath,
        /// To whom it was.
        recipients: Vec<Address>,
        /// The `Message-ID`, without brackets.
        message_id: Option<String>,
        /// Octets that came.
        octets: u64,
        /// SMTP code.
        code: u16,
        /// Enhanced status.
        status: EnhancedStatus,
        /// The reply's words.
        text: String,
    },
    /// What a decision rests on, kept so that it can be made again.
    Grounds {
        /// Which decision: `authentication` or `filter`.
        stage: String,
        /// Whose reader, if it is one reader's.
        account: Option<AccountId>,
        /// JSON, as the stage writes and reads it.
        facts: String,
    },
    /// Block and allow lists were asked about the host that brought it.
    Listed {
        /// Each list's zone, and what it says in words.
        standings: Vec<(String, String)>,
        /// The answers of DNS.
        answers: Recorded,
    },
    /// It was refused, and yet is kept in the Rejects of one of those it was for.
    Kept {
        /// Whose.
        account: AccountId,
        /// The mailbox.
        mailbox: MailboxId,
        /// As what.
        email: EmailId,
        /// Under which Uid.
        uid: Uid,
        /// Until when, unless newer ones need the room.
        until: Timestamp,
        /// It was there already, because it had been brought before.
        again: bool,
    },
    /// It was refused, and is not kept in the Rejects.
    NotKept {
        /// Of whom; none: of nobody.
        account: Option<AccountId>,
        /// Why, in words.
        reason: String,
    },
    /// It was taken out of the Rejects: it is mail like any other now.
    Readmitted {
        /// Whose Rejects it was in.
        account: AccountId,
        /// Where it went.
        mailbox: MailboxId,
        /// As what.
        email: EmailId,
        /// Under which Uid.
        uid: Uid,
    },
}
