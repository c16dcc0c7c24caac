//! What an adviser says: a decision, and changes to envelope and message.
//!
//! Not how it says it (`response`, `hook`), and not what follows (`message`, `mta`).

use mail::EnhancedStatus;
use std::fmt;

/// What an adviser says about a stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advice {
    /// What is to become of the connection, the recipient or the message.
    pub decision: Decision,
    /// What is to be changed, in this order; only at the end of the message.
    pub modifications: Vec<Modification>,
}

impl Advice {
    /// A decision without changes.
    pub const fn of(decision: Decision) -> Self {
        Self { decision, modifications: Vec::new() }
    }
}

/// What is to become of the connection, the recipient or the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Decision {
    /// Go on; the adviser wants to hear more.
    #[default]
    Continue,
    /// Go on; the adviser wants to hear no more, of the connection before MAIL, of the message after it.
    Accept,
    /// The message is taken and thrown away.
    Discard,
    /// Refused for good; without a reply of the adviser's own: 550 5.7.1.
    Reject(Option<Reply>),
    /// Refused for now; without a reply of the adviser's own: 451 4.7.1.
    Defer(Option<Reply>),
}

impl Decision {
    /// One word for the trail.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Accept => "accept",
            Self::Discard => "discard",
            Self::Reject(_) => "reject",
            Self::Defer(_) => "defer",
        }
    }
}

/// What the peer is to hear, in the adviser's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 400 to 599.
    pub code: u16,
    /// The enhanced status, where it gave one of the code's class.
    pub status: Option<EnhancedStatus>,
    /// Lines separated by `\n`, printable ASCII otherwise.
    pub text: String,
}

/// Most lines of a reply's text; the rest is dropped. libmilter's bound.
const REPLY_LINES_MAX: usize = 32;
/// Most octets of a line; the rest is dropped. libmilter's bound.
const REPLY_LINE_OCTETS_MAX: usize = 980;

impl Reply {
    /// A reply whose text becomes printable and bounded; `None` if the code refuses nothing.
    pub fn new(code: u16, status: Option<EnhancedStatus>, text: &str) -> Option<Self> {
        if !(400..600).contains(&code) {
            return None;
        }
        let printable = |line: &str| {
            let shown = line.chars().filter(|c| *c != '\r').map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
            shown.take(REPLY_LINE_OCTETS_MAX).collect::<String>().trim_end().to_owned()
        };
        let lines: Vec<String> = text.trim_end().split('\n').take(REPLY_LINES_MAX).map(printable).collect();
        let status = status.filter(|status| u16::from(status.class) == code / 100);
        Some(Self { code, status, text: lines.join("\n") })
    }

    /// Reads `550 5.7.1 text`, or several such lines with `550-` but for the last; `%%` is `%` (`smfi_setreply`).
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = Vec::new();
        let mut first = None;
        for line in line.trim_end().split('\n').take(REPLY_LINES_MAX) {
            let line = line.trim_end_matches('\r');
            let code: u16 = line.get(..3)?.parse().ok()?;
            if !matches!(line.as_bytes().get(3), None | Some(b' ' | b'-')) {
                return None;
            }
            let rest = line.get(4..).unwrap_or_default();
            let (status, text) = split_status(rest);
            first = first.or(Some((code, status)));
            words.push(text.replace("%%", "%"));
        }
        let (code, status) = first?;
        Self::new(code, status, &words.join("\n"))
    }

    /// Whether it is a refusal for good.
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500
    }
}

fn split_status(text: &str) -> (Option<EnhancedStatus>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word.parse() {
        Ok(status) => (Some(status), rest),
        Err(_) => (None, text),
    }
}

/// A change to envelope or message.
///
/// A header's value is all that stands behind the colon, usually with a blank at its start; it may be folded.
#[derive(Clone, PartialEq, Eq)]
pub enum Modification {
    /// A field below all others.
    AddHeader {
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// A field at a place.
    InsertHeader {
        /// 0: above all others; 1: below our own trace; 2: below the first field of the message as it came; and so on.
        index: u32,
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// Another value for one of the fields of a name; a new field below all others, if there is none.
    ChangeHeader {
        /// Which of those with the name, from 1.
        index: u32,
        /// Its name.
        name: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// One of the fields of a name goes.
    DeleteHeader {
        /// Which of those with the name, from 1.
        index: u32,
        /// Its name.
        name: String,
    },
    /// Another body.
    ReplaceBody(Vec<u8>),
    /// A further recipient.
    AddRecipient {
        /// The address, with or without angle brackets.
        address: String,
        /// Its ESMTP parameters, as on the wire; they are not used.
        parameters: String,
    },
    /// A recipient less.
    DeleteRecipient(String),
    /// Another reverse-path.
    ChangeFrom {
        /// The address, with or without angle brackets; empty for the null reverse-path.
        address: String,
        /// Its ESMTP parameters, as on the wire; they are not used.
        parameters: String,
    },
    /// The message is taken and held until somebody has looked at it.
    Quarantine(String),
}

/// For the trail and for tests: what changes, without the octets of a body.
impl fmt::Display for Modification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddHeader { name, value } => write!(f, "add header {name}:{}", Shown(value)),
            Self::InsertHeader { index, name, value } => write!(f, "insert header {index} {name}:{}", Shown(value)),
            Self::ChangeHeader { index, name, value } => write!(f, "change header {index} {name}:{}", Shown(value)),
            Self::DeleteHeader { index, name } => write!(f, "delete header {index} {name}"),
            Self::ReplaceBody(body) => write!(f, "replace the body by {} octets", body.len()),
            Self::AddRecipient { address, .. } => write!(f, "add recipient {address}"),
            Self::DeleteRecipient(address) => write!(f, "delete recipient {address}"),
            Self::ChangeFrom { address, .. } => write!(f, "change reverse-path to {address}"),
            Self::Quarantine(reason) => write!(f, "quarantine: {reason}"),
        }
    }
}

impl fmt::Debug for Modification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Longest value that the trail tells whole, characters.
const SHOWN_MAX: usize = 120;

/// A value in one line, cut where it is long.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        let cut: String = line.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
        write!(f, " {cut}{}", if cut.len() < line.len() { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reply: Option<Reply>) -> String {
        let Some(Reply { code, status, text }) = reply else { return "none".to_owned() };
        format!("{code} {} {text:?}", status.map_or_else(|| "-".to_owned(), |status| status.to_string()))
    }

    #[test]
    fn replies_are_read() {
        for (text, want) in [
            ("550 5.7.1 No thanks", "550 5.7.1 \"No thanks\""),
            ("451 try later", "451 - \"try later\""),
            ("451", "451 - \"\""),
            ("550-5.7.1 one\r\n550 5.7.1 two", "550 5.7.1 \"one\\ntwo\""),
            ("554 4.7.1 a class of its own", "554 - \"a class of its own\""),
            ("550 5.7.1 100%% sure", "550 5.7.1 \"100% sure\""),
            ("550 5.7.1 caf\u{e9}\u{7}", "550 5.7.1 \"caf??\""),
            ("250 2.0.0 fine", "none"),
            ("5500 x", "none"),
            ("abc", "none"),
            ("", "none"),
        ] {
            assert_eq!(shown(Reply::parse(text)), want, "{text:?}");
        }
    }

    #[test]
    fn long_replies_are_cut() {
        let long = Reply::new(550, None, &format!("{}\n", "x".repeat(2_000)).repeat(50)).unwrap();
        assert_eq!(long.text.lines().count(), REPLY_LINES_MAX);
        assert!(long.text.lines().all(|line| line.len() == REPLY_LINE_OCTETS_MAX));
    }
}
