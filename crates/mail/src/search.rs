//! The texts that SEARCH compares: decoded, and folded as `i;unicode-casemap` does (`casemap`).
//!
//! Not the search: who looks for what is the command's business, and which messages need not be read at all is
//! told by `grams`, which is made from the texts given here. That both take them from here is why it can be trusted.

use crate::casemap::fold;
use crate::digest::{AddressItem, BodyPart, Digest};
use crate::{header, text, words};
use std::ops::Range;

/// The fields that [`crate::grams::Heads`] knows: those with SEARCH keys of their own.
pub const HEAD_FIELDS: [&str; 5] = ["subject", "from", "to", "cc", "bcc"];

/// Whether a field is one of [`HEAD_FIELDS`].
pub fn is_head(name: &str) -> bool {
    HEAD_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The subject, for SEARCH SUBJECT.
pub fn subject(digest: &Digest) -> String {
    fold(&words::decode(digest.envelope.subject.as_deref().unwrap_or_default()))
}

/// An address as it is shown, for SEARCH FROM and its kin: `ANN SMITH <ANN@EXAMPLE.ORG>`
pub fn address(address: &AddressItem) -> String {
    let name = address.name.as_deref().map(words::decode).unwrap_or_default();
    let mailbox = address.mailbox.as_deref().unwrap_or_default();
    let host = address.host.as_deref().unwrap_or_default();
    fold(&format!("{name} <{mailbox}@{host}>"))
}

/// The value of a field, for SEARCH HEADER.
pub fn field(value: &[u8]) -> String {
    fold(&words::decode(&header::unfold(value)))
}

/// A header block as people read it, for SEARCH TEXT.
pub fn header(block: &[u8]) -> String {
    let mut out = String::new();
    for (name, value) in text::fields(block) {
        out.push_str(&name);
        out.push_str(": ");
        out.push_str(&value);
        out.push('\n');
    }
    fold(&out)
}

/// A text part from its body's octets, for SEARCH BODY.
pub fn part(part: &BodyPart, body: &[u8]) -> String {
    fold(&text::decode(part, body))
}

/// Where the headers of messages within the message stand, for SEARCH BODY.
pub fn nested_headers(part: &BodyPart) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    if let Some(nested) = part.message() {
        found.push(nested.body.header());
        found.extend(nested_headers(&nested.body));
    }
    found.extend(part.parts().iter().flat_map(nested_headers));
    found
}
