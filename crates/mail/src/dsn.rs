//! Delivery status notifications: reports of what became of a message, for people and for programs, and
//! reading those of others (RFC 3461, RFC 3464, RFC 6522, RFC 6533).
//!
//! Not the decision to report, nor to whom: that is the queue's.
//!
//! Invariants: a report answers nobody automatically (RFC 3834) and must be sent from the null
//! reverse-path; nothing a remote server said can break out of its place.

use crate::address::Address;
use crate::compose::{self, Fields, Part};
use crate::date::{self, DateTime};
use crate::digest::{BodyPart, Inside};
use crate::encoding::{self, TransferEncoding};
use crate::envelope::Recipient;
use crate::header;
use crate::id::ReceiptId;
use crate::mime;
use crate::status::EnhancedStatus;
use crate::words;
use std::fmt::{self, Write};
use std::str::FromStr;

/// A larger message is not returned whole but by its header, octets. Our own bound.
pub const RETURNED_OCTETS_MAX: usize = 1024 * 1024;

/// Octets of a header that are returned. Our own bound.
pub const HEADER_OCTETS_MAX: usize = 64 * 1024;

/// Characters of a remote reply that are told. Our own bound; RFC 5321 §4.5.3.1.5 has 512 a line.
pub const REPLY_CHARS_MAX: usize = 2048;

/// Recipients read from a report of others. Our own bound.
pub const RECIPIENTS_MAX: usize = 1000;

/// What became of the message for one recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It will not be tried again.
    Failed,
    /// It is still being tried.
    Delayed,
    /// It is in the mailbox.
    Delivered,
    /// It was handed to a server that sends no such reports.
    Relayed,
    /// It was handed to more than one address.
    Expanded,
}

const ACTIONS: [(Action, &str); 5] = [
    (Action::Failed, "failed"),
    (Action::Delayed, "delayed"),
    (Action::Delivered, "delivered"),
    (Action::Relayed, "relayed"),
    (Action::Expanded, "expanded"),
];

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ACTIONS.iter().find(|(action, _)| action == self).map_or("", |(_, name)| name))
    }
}

/// The text names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an action of a delivery status notification")]
pub struct NotAnAction;

impl FromStr for Action {
    type Err = NotAnAction;

    fn from_str(text: &str) -> Result<Self, NotAnAction> {
        ACTIONS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(action, _)| *action).ok_or(NotAnAction)
    }
}

/// What is reported for one recipient.
#[derive(Debug, Clone)]
pub struct RecipientReport {
    /// The recipient with its `ORCPT`.
    pub recipient: Recipient,
    /// What became of it.
    pub action: Action,
    /// Why, as a code.
    pub status: EnhancedStatus,
    /// Why, in words of our own, where no other server spoke: `no answer from mx.example.org`.
    pub reason: Option<String>,
    /// The server that answered.
    pub remote_host: Option<String>,
    /// What it answered: `550 5.1.1 no such user`.
    pub reply: Option<String>,
    /// When it was last tried.
    pub last_attempt: Option<DateTime>,
    /// Until when it will be tried, if it was delayed.
    pub will_retry_until: Option<DateTime>,
}

/// What is returned of the message itself (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy)]
pub enum Original<'a> {
    /// `RET=FULL`: the message; only its header if it has more than [`RETURNED_OCTETS_MAX`] octets.
    Full(&'a [u8]),
    /// `RET=HDRS`: the message or its header; only the header is returned.
    Headers(&'a [u8]),
}

/// A report to be written.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// Our own name.
    pub reporting_host: &'a str,
    /// Whom people may answer: the postmaster.
    pub from: &'a Address,
    /// The reverse-path of the message.
    pub to: &'a Address,
    /// The report's own id without brackets.
    pub message_id: &'a str,
    /// When the report is made.
    pub at: DateTime,
    /// When the message came.
    pub arrived: Option<DateTime>,
    /// `ENVID`, decoded.
    pub envelope_id: Option<&'a str>,
    /// How the sender asked for a later release: `for;SECONDS` or `until;TIME` (RFC 4865 §4.5).
    pub release_request: Option<&'a str>,
    /// One entry a recipient to report.
    pub recipients: &'a [RecipientReport],
    /// What to return.
    pub original: Original<'a>,
    /// The message's receipt, by which its trail is found.
    pub receipt: Option<ReceiptId>,
    /// Whether the message came with SMTPUTF8, so that its sender can read UTF-8 in headers.
    pub smtputf8: bool,
}

impl Report<'_> {
    /// The whole message.
    pub fn build(&self) -> Vec<u8> {
        let original = self.original_header();
        let parts = [compose::text_part(&self.text(original)), self.status_part(), self.returned_part()];
        let (global, kind) = (self.global(), "multipart/report; report-type=delivery-status");
        let kind = if global { kind.replace("delivery-status", "global-delivery-status") } else { kind.to_owned() };
        let eight_bit = parts.iter().any(|part| !part.body.is_ascii());
        let mut fields = Fields::new()
            .address("From", "Mail Delivery System", self.from)
            .address("To", "", self.to)
            .text("Subject", &self.subject(original))
            .date("Date", self.at)
            .raw("Message-ID", &format!("<{}>", self.message_id))
            .raw("Auto-Submitted", "auto-replied");
        if let Some(id) = header::value(original, "message-id").as_deref().and_then(|text| header::message_ids(text).next()) {
            // Mail programs then show the report beside the message.
            fields = fields.raw("In-Reply-To", &format!("<{}>", plain(id, global))).raw("References", &format!("<{}>", plain(id, global)));
        }
        if eight_bit {
            fields = fields.raw("Content-Transfer-Encoding", "8bit");
        }
        compose::multipart(fields, &kind, self.message_id, &parts)
    }

    /// Whether UTF-8 may stand in headers and addresses (RFC 6533).
    fn global(&self) -> bool {
        self.smtputf8 || !self.to.is_ascii()
    }

    fn original_header(&self) -> &[u8] {
        let (Original::Full(message) | Original::Headers(message)) = self.original;
        let header = message.get(..header::body_start(message)).unwrap_or_default();
        header.get(..HEADER_OCTETS_MAX).unwrap_or(header)
    }

    fn with_action(&self, action: Action) -> impl Iterator<Item = &RecipientReport> {
        self.recipients.iter().filter(move |report| report.action == action)
    }

    fn subject(&self, original: &[u8]) -> String {
        let worst = ACTIONS.iter().map(|(action, _)| *action).find(|action| self.with_action(*action).next().is_some());
        let what = match worst.unwrap_or(Action::Delivered) {
            Action::Failed => "Not delivered",
            Action::Delayed => "Delayed, still trying",
            Action::Delivered => "Delivered",
            Action::Relayed | Action::Expanded => "Sent on",
        };
        match subject(original) {
            Some(subject) => format!("{what}: {subject}"),
            None => what.to_owned(),
        }
    }

    /// The part for people.
    fn text(&self, original: &[u8]) -> String {
        let mut out = String::new();
        for (action, _) in ACTIONS {
            let mut reports = self.with_action(action).peekable();
            if reports.peek().is_some() {
                out.push_str(headline(action));
                out.push_str("\n\n");
                reports.for_each(|report| push_recipient(&mut out, report));
            }
        }
        out.push_str("The message was:\n\n");
        for (label, value) in
            [("Subject", subject(original)), ("Sent", header::value(original, "date")), ("Id", header::value(original, "message-id"))]
        {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                push_line(&mut out, &format!("  {label}: {}", shortened(&value, 200)));
            }
        }
        if let Some(receipt) = self.receipt {
            push_line(&mut out, &format!("  Receipt: {receipt}"));
        }
        push_line(&mut out, &format!("\nThis report was made by the mail server {}.", self.reporting_host));
        push_line(&mut out, "The rest of it is for mail programs and administrators.");
        out
    }

    /// The part for programs (RFC 3464 §2, RFC 6533 §4).
    fn status_part(&self) -> Part {
        let global = self.global();
        let mut message = Fields::new();
        if let Some(id) = self.envelope_id {
            message = message.raw("Original-Envelope-Id", &plain(id, global));
        }
        message = message.raw("Reporting-MTA", &format!("dns; {}", self.reporting_host));
        if let Some(arrived) = self.arrived {
            message = message.date("Arrival-Date", arrived);
        }
        if let Some(request) = self.release_request {
            message = message.raw("Future-Release-Request", request);
        }
        let blocks = self.recipients.iter().map(|report| report.fields(global).as_str().to_owned());
        let body = std::iter::once(message.as_str().to_owned()).chain(blocks).collect::<Vec<_>>().join("\r\n");
        let kind = if global { "message/global-delivery-status" } else { "message/delivery-status" };
        part(kind, body.into_bytes())
    }

    fn returned_part(&self) -> Part {
        let header = self.original_header();
        let global = self.global() && !header.is_ascii();
        match self.original {
            Original::Full(message) if message.len() <= RETURNED_OCTETS_MAX => {
                part(if global { "message/global" } else { "message/rfc822" }, message.to_vec())
            }
            _ => part(if global { "message/global-headers" } else { "text/rfc822-headers" }, header.to_vec()),
        }
    }
}

impl RecipientReport {
    fn fields(&self, global: bool) -> Fields {
        let mut fields = Fields::new();
        if let Some(original) = &self.recipient.original {
            fields = fields.raw("Original-Recipient", &plain(original, global));
        }
        fields = fields
            .raw("Final-Recipient", &typed_address(&self.recipient.address, global))
            .raw("Action", &self.action.to_string())
            .raw("Status", &self.status.to_string());
        if let Some(host) = &self.remote_host {
            fields = fields.raw("Remote-MTA", &format!("dns; {}", plain(host, global)));
        }
        if let Some(reply) = &self.reply {
            fields = fields.raw("Diagnostic-Code", &format!("smtp; {}", plain(shortened(reply, REPLY_CHARS_MAX), global)));
        }
        if let Some(at) = self.last_attempt {
            fields = fields.date("Last-Attempt-Date", at);
        }
        if let Some(until) = self.will_retry_until.filter(|_| self.action == Action::Delayed) {
            fields = fields.date("Will-Retry-Until", until);
        }
        fields
    }
}

fn part(content_type: &str, body: Vec<u8>) -> Part {
    let fields = Fields::new().raw("Content-Type", content_type);
    let fields = if body.is_ascii() { fields } else { fields.raw("Content-Transfer-Encoding", "8bit") };
    Part { fields, body }
}

/// `rfc822; ann@example.org`, or RFC 6533 §3's type for an address beyond ASCII.
fn typed_address(address: &Address, global: bool) -> String {
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    format!("{kind}; {}", plain(&address.to_string(), global))
}

/// Text beyond ASCII as RFC 6533 §3 escapes it, unless the reader takes UTF-8.
fn plain(text: &str, global: bool) -> String {
    if global || text.is_ascii() {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() * 2), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
        out
    })
}

fn shortened(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

fn subject(original: &[u8]) -> Option<String> {
    let subject = header::value(original, "subject")?;
    let subject = words::decode(&subject);
    Some(shortened(subject.trim(), 200).to_owned()).filter(|subject| !subject.is_empty())
}

const fn headline(action: Action) -> &'static str {
    match action {
        Action::Failed => "Your message could not be delivered to:",
        Action::Delayed => {
            "Your message has not been delivered yet to the addresses below.\nYou need not send it again: the server keeps trying."
        }
        Action::Delivered => "Your message was delivered to:",
        Action::Relayed => "Your message was handed to a server that does not report deliveries, for:",
        Action::Expanded => "Your message was sent on to the members of:",
    }
}

fn push_recipient(out: &mut String, report: &RecipientReport) {
    push_line(out, &format!("  {}", report.recipient.address));
    if let Some(meaning) = meaning(report.action, report.status) {
        push_line(out, &format!("    {meaning}"));
    }
    if let Some(reason) = &report.reason {
        push_line(out, &format!("    What happened: {}", shortened(reason, REPLY_CHARS_MAX)));
    }
    if let Some(reply) = &report.reply {
        let host = report.remote_host.as_deref().unwrap_or("The other server");
        push_line(out, &format!("    {host} answered: {}", shortened(reply, REPLY_CHARS_MAX)));
    }
    if let Some(until) = report.will_retry_until.filter(|_| report.action == Action::Delayed) {
        push_line(out, &format!("    It will be tried until {}.", date::rfc5322(until)));
    }
    out.push('\n');
}

/// One line; controls in what others said become spaces.
fn push_line(out: &mut String, line: &str) {
    out.extend(line.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }));
    out.push('\n');
}

/// What a code means to somebody who wrote a letter (RFC 3463 §3).
fn meaning(action: Action, status: EnhancedStatus) -> Option<&'static str> {
    if !matches!(action, Action::Failed | Action::Delayed) {
        return None;
    }
    Some(match (status.subject, status.detail) {
        (1, 0 | 1 | 3 | 6) => "There is no such address. Please look for a typing mistake in it.",
        (1, 2) => "There is no such domain (the part behind the @). Please look for a typing mistake in it.",
        (1, 10) => "This domain takes no mail at all.",
        (1, 7 | 8) => "The other server does not accept the sender's address.",
        (2, 1) => "The mailbox exists but takes no mail at present.",
        (2, 2) => "The mailbox is full.",
        (2 | 3, 3 | 4) => "The message is too large for the other server. A link to the file may do instead.",
        (3, 1) => "The other server has no room left.",
        (4, 1) => "The other server did not answer.",
        (4, 2) => "The connection to the other server broke.",
        (4, 3 | 4) => "The way to the other server could not be found in the domain name system.",
        (4, 6) => "The message went in circles between servers; their administrators must mend that.",
        (4, 7) if action == Action::Failed => "It was tried for as long as messages are kept, without success.",
        (6, _) => "The other server cannot handle this kind of message.",
        (7, 1 | 0) => "The other server refused the message: its rules forbid it, or it took it for spam.",
        (7, 20..=30) => "The other server could not confirm that the message comes from its sender's domain.",
        (7, _) => "The other server refused the message for reasons of security.",
        _ => return None,
    })
}

/// A report that somebody else made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    /// `Original-Envelope-Id`
    pub envelope_id: Option<String>,
    /// `Reporting-MTA`, without its type.
    pub reporting_host: Option<String>,
    /// One entry a recipient, at most [`RECIPIENTS_MAX`].
    pub recipients: Vec<ParsedRecipient>,
}

/// What such a report says of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedRecipient {
    /// `Final-Recipient`, without its type.
    pub final_recipient: String,
    /// `Original-Recipient`, without its type.
    pub original_recipient: Option<String>,
    /// `Action`
    pub action: Action,
    /// `Status`, if it is one.
    pub status: Option<EnhancedStatus>,
    /// `Diagnostic-Code`, without its type.
    pub diagnostic: Option<String>,
}

/// Reads a report; `None` if the message has no delivery-status part.
pub fn parse(message: &[u8]) -> Option<Parsed> {
    let index = mime::index(message);
    let part = status_part(&index.body)?;
    let range = usize::try_from(part.body_start).ok()?..usize::try_from(part.body_end).ok()?;
    Some(parse_status(&encoding::decode(TransferEncoding::parse(&part.encoding), message.get(range)?)))
}

/// The delivery-status part, in whichever multipart it stands.
fn status_part(part: &BodyPart) -> Option<&BodyPart> {
    match &part.inside {
        Inside::Parts(parts) => parts.iter().find_map(status_part),
        _ if part.media == "message" && part.subtype.ends_with("delivery-status") => Some(part),
        _ => None,
    }
}

/// Blocks of fields with empty lines between them: one for the message, then one a recipient.
fn parse_status(body: &[u8]) -> Parsed {
    let mut blocks = blocks(body);
    let message = blocks.next().unwrap_or_default();
    Parsed {
        envelope_id: header::value(message, "original-envelope-id"),
        reporting_host: header::value(message, "reporting-mta").map(|text| untyped(&text)),
        recipients: blocks.filter_map(parse_recipient).take(RECIPIENTS_MAX).collect(),
    }
}

fn blocks(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body.trim_ascii_start();
    std::iter::from_fn(move || {
        let (block, after) = rest.split_at_checked(header::body_start(rest)).filter(|(block, _)| !block.is_empty())?;
        rest = after.trim_ascii_start();
        Some(block)
    })
}

fn parse_recipient(block: &[u8]) -> Option<ParsedRecipient> {
    let value = |name| header::value(block, name);
    Some(ParsedRecipient {
        final_recipient: untyped(&value("final-recipient")?),
        original_recipient: value("original-recipient").map(|text| untyped(&text)),
        action: value("action")?.split([' ', '(']).next()?.parse().ok()?,
        status: value("status").and_then(|text| text.split([' ', '(']).next()?.parse().ok()),
        diagnostic: value("diagnostic-code").map(|text| untyped(&text)),
    })
}

/// Without `rfc822;` or `smtp;` in front.
fn untyped(text: &str) -> String {
    text.split_once(';').map_or(text, |(_, text)| text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::timestamp::Timestamp;

    const AT: DateTime = DateTime { at: Timestamp::from_seconds(1_057_049_557), zone_minutes: 0 };

    fn failed(address: &str) -> RecipientReport {
        RecipientReport {
            recipient: Recipient { original: Some("rfc822;bob@list.example".into()), ..Recipient::new(Address::parse(address).unwrap()) },
            action: Action::Failed,
            status: EnhancedStatus::new(5, 1, 1),
            reason: None,
            remote_host: Some("mx.example.net".into()),
            reply: Some("550 5.1.1 no such user\r\nEvil: yes".into()),
            last_attempt: Some(AT),
            will_retry_until: Some(AT),
        }
    }

    fn build(recipients: &[RecipientReport], to: &str, original: Original<'_>, smtputf8: bool) -> String {
        let (from, to) = (Address::parse("postmaster@mx.example.org").unwrap(), Address::parse(to).unwrap());
        let report = Report {
            reporting_host: "mx.example.org",
            from: &from,
            to: &to,
            message_id: "r1@mx.example.org",
            at: AT,
            arrived: Some(AT),
            envelope_id: Some("QQ314159"),
            release_request: None,
            recipients,
            original,
            receipt: Some(ReceiptId::default()),
            smtputf8,
        };
        String::from_utf8(report.build()).unwrap()
    }

    const MESSAGE: &[u8] = b"From: ann@example.org\r\nSubject: =?utf-8?Q?caf=C3=A9?=\r\nMessage-ID: <1@example.org>\r\n\r\nbody\r\n";

    #[test]
    fn a_failure_is_told_to_people_and_programs() {
        let report = build(&[failed("bob@example.net")], "ann@example.org", Original::Headers(MESSAGE), false);
        for line in [
            "From: Mail Delivery System <postmaster@mx.example.org>",
            "To: ann@example.org",
            "Subject: =?utf-8?Q?Not_delivered=3A_caf=C3=A9?=",
            "Auto-Submitted: auto-replied",
            "In-Reply-To: <1@example.org>",
            "Original-Envelope-Id: QQ314159",
            "Reporting-MTA: dns; mx.example.org",
            "Arrival-Date: Tue, 1 Jul 2003 08:52:37 +0000",
            "Original-Recipient: rfc822;bob@list.example",
            "Final-Recipient: rfc822; bob@example.net",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.example.net",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user Evil: yes",
            "Last-Attempt-Date: Tue, 1 Jul 2003 08:52:37 +0000",
            "Content-Type: text/rfc822-headers",
            "    There is no such address. Please look for a typing mistake in it.",
        ] {
            assert!(report.contains(&format!("\r\n{line}\r\n")) || report.starts_with(line), "{line}\n{report}");
        }
        assert!(!report.contains("Will-Retry-Until") && !report.contains("\r\nbody"));
        let digest = Digest::of(report.as_bytes());
        assert_eq!(
            (digest.body.subtype.as_str(), digest.body.parameter("report-type"), digest.has_attachment),
            ("report", Some("delivery-status"), false)
        );
        assert_eq!(
            digest.body.parts().iter().map(|part| part.subtype.as_str()).collect::<Vec<_>>(),
            ["plain", "delivery-status", "rfc822-headers"]
        );
        assert!(digest.preview.starts_with("Your message could not be delivered to: bob@example.net"));
    }

    #[test]
    fn every_action_has_its_words() {
        let other = |address: &str, action, status| RecipientReport { action, status, reply: None, remote_host: None, ..failed(address) };
        let recipients = [
            other("d@x", Action::Delayed, EnhancedStatus::new(4, 4, 1)),
            other("ok@x", Action::Delivered, EnhancedStatus::new(2, 0, 0)),
            other("r@x", Action::Relayed, EnhancedStatus::new(2, 0, 0)),
            other("e@x", Action::Expanded, EnhancedStatus::new(2, 0, 0)),
        ];
        let report = build(&recipients, "ann@example.org", Original::Full(MESSAGE), false);
        for words in [
            "the server keeps trying",
            "was delivered to:",
            "handed to a server",
            "the members of:",
            "did not answer",
            "Will-Retry-Until: Tue",
            "\r\n\r\nbody\r\n",
            "message/rfc822",
        ] {
            assert!(report.contains(words), "{words}\n{report}");
        }
        let parsed = parse(report.as_bytes()).unwrap();
        assert_eq!(
            parsed.recipients.iter().map(|r| r.action.to_string()).collect::<Vec<_>>(),
            ["delayed", "delivered", "relayed", "expanded"]
        );
    }

    #[test]
    fn addresses_beyond_ascii_are_escaped_or_not() {
        let narrow = build(&[failed("jörg@example.net")], "ann@example.org", Original::Headers(MESSAGE), false);
        assert!(narrow.contains("Final-Recipient: utf-8; j\\x{F6}rg@example.net\r\n") && narrow.is_ascii(), "{narrow}");
        let original = "Subject: grüße\r\n\r\n".as_bytes();
        let wide = build(&[failed("jörg@example.net")], "änn@example.org", Original::Headers(original), true);
        for words in [
            "Final-Recipient: utf-8; jörg@",
            "report-type=global-delivery-status",
            "message/global-delivery-status",
            "message/global-headers",
            "To: änn@",
            "Subject: grüße",
        ] {
            assert!(wide.contains(words), "{words}\n{wide}");
        }
        assert_eq!(parse(wide.as_bytes()).unwrap().recipients[0].final_recipient, "jörg@example.net");
    }

    #[test]
    fn large_messages_come_back_as_their_header() {
        let large = [MESSAGE, &vec![b'x'; RETURNED_OCTETS_MAX]].concat();
        let report = build(&[failed("bob@example.net")], "ann@example.org", Original::Full(&large), false);
        assert!(report.contains("text/rfc822-headers") && report.len() < 10_000);
    }

    #[test]
    fn reports_of_others_are_read() {
        // The multi-recipient example of RFC 3464 Appendix E, shortened.
        let report = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n\
            content-type: message/delivery-status\r\n\r\nReporting-MTA: dns; cs.utk.edu\r\n\r\n\
            Original-Recipient: rfc822;arathib@vnet.ibm.com\r\nFinal-Recipient: rfc822;arathib@vnet.ibm.com\r\nAction: failed\r\n\
            Status: 5.0.0 (permanent failure)\r\nDiagnostic-Code: smtp; 550 'arathib@vnet.IBM.COM' is not a\r\n registered gateway user\r\n\r\n\
            Final-Recipient: rfc822;johnh@hpnjld.njd.hp.com\r\nAction: delayed (hp.com: host name lookup failure)\r\n\r\n\
            Final-Recipient: rfc822;x@y\r\nAction: unheard-of\r\n--b--\r\n";
        let parsed = parse(report).unwrap();
        assert_eq!(parsed.reporting_host.as_deref(), Some("cs.utk.edu"));
        let [first, second] = parsed.recipients.as_slice() else { panic!("{parsed:?}") };
        assert_eq!((first.action, first.status), (Action::Failed, Some(EnhancedStatus::new(5, 0, 0))));
        assert_eq!(first.diagnostic.as_deref(), Some("550 'arathib@vnet.IBM.COM' is not a registered gateway user"));
        assert_eq!((second.action, second.final_recipient.as_str(), second.status), (Action::Delayed, "johnh@hpnjld.njd.hp.com", None));
        assert_eq!(parse(b"Subject: x\r\n\r\nno report"), None);
    }
}
