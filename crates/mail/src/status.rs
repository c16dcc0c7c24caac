//! Enhanced status codes (RFC 3463), the machine-readable half of an SMTP reply or a report.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `class.subject.detail`, e.g. `5.1.1` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl EnhancedStatus {
    /// A code from its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The text is not an enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code such as 5.1.1")]
pub struct NotAStatus;

impl FromStr for EnhancedStatus {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        let mut parts = text.split('.');
        let mut number = |digits_max: usize| {
            let part = parts.next().filter(|part| (1..=digits_max).contains(&part.len()))?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u16>().ok())?
        };
        let (class, subject, detail) = (number(1), number(3), number(3));
        match (class, subject, detail, parts.next()) {
            (Some(class @ (2 | 4 | 5)), Some(subject), Some(detail), None) => {
                Ok(Self { class: u8::try_from(class).map_err(|_| NotAStatus)?, subject, detail })
            }
            _ => Err(NotAStatus),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_strictly() {
        for good in ["2.0.0", "4.3.1", "5.7.26", "5.999.999"] {
            assert_eq!(good.parse::<EnhancedStatus>().map(|s| s.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "5", "5.1", "5.1.1.1", "3.0.0", "5.1.1000", "5.+1.1", "5..1"] {
            assert_eq!(bad.parse::<EnhancedStatus>(), Err(NotAStatus), "{bad}");
        }
    }
}
