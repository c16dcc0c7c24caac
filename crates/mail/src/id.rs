//! The numbers by which things are known: one newtype each, so that none is taken for another.
//!
//! They have no arithmetic but `next()`; `store::uid` alone allocates them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one; the last one stays (callers refuse before it is reached).
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// An account of this server.
    AccountId(u32)
}
number! {
    /// A mailbox within its account; also RFC 8474's MAILBOXID. Never used again after deletion.
    MailboxId(u32)
}
number! {
    /// An email within its account, whichever mailboxes hold it; also RFC 8474's EMAILID.
    EmailId(u64)
}
number! {
    /// A conversation within its account; also RFC 8474's THREADID.
    ThreadId(u64)
}
number! {
    /// A message's unique identifier in its mailbox, from 1 (RFC 9051 §2.3.1.1).
    Uid(u32)
}
number! {
    /// Which numbering of a mailbox the Uids belong to, from 1 (RFC 9051 §2.3.1.1).
    UidValidity(u32)
}
number! {
    /// A message's place in what one IMAP session has been told, from 1 (RFC 9051 §2.3.1.2).
    SeqNum(u32)
}
number! {
    /// The account's change counter (RFC 7162 §3.1); a JMAP state string is this number.
    ModSeq(u64)
}

/// The durable promise behind a 250, and the name of everything that follows from it.
///
/// Ordered by time: the upper bits are milliseconds since 1970, the lower 20 a counter. Shown as 13
/// letters of Crockford's base 32, lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReceiptId(pub u64);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = (0..13).rev().map(|n| usize::try_from(self.0 >> (n * 5) & 31).unwrap_or_default());
        digits.filter_map(|digit| CROCKFORD.get(digit)).try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a receipt id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt id: 13 letters and digits are expected")]
pub struct NotAReceiptId;

impl FromStr for ReceiptId {
    type Err = NotAReceiptId;

    fn from_str(text: &str) -> Result<Self, NotAReceiptId> {
        if text.len() != 13 {
            return Err(NotAReceiptId);
        }
        text.bytes()
            .try_fold(0_u64, |number, letter| {
                let digit = CROCKFORD.iter().position(|l| *l == letter.to_ascii_lowercase()).ok_or(NotAReceiptId)?;
                let digit = u64::try_from(digit).map_err(|_| NotAReceiptId)?;
                number.checked_mul(32).map(|high| high | digit).ok_or(NotAReceiptId)
            })
            .map(Self)
    }
}

/// The BLAKE3 hash of a blob's octets: its name in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobHash(pub [u8; 32]);

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_ids_read_back_what_they_show() {
        for number in [0, 1, 31, 32, u64::MAX, 1_700_000_000_000 << 20] {
            let shown = ReceiptId(number).to_string();
            assert_eq!(shown.len(), 13);
            assert_eq!(shown.parse(), Ok(ReceiptId(number)), "{shown}");
        }
        for bad in ["", "short", "zzzzzzzzzzzzz", "0000000000000000", "000000000000u", "00000000000é"] {
            assert_eq!(bad.parse::<ReceiptId>(), Err(NotAReceiptId), "{bad}");
        }
    }
}
