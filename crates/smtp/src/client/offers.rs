//! What a server said it can do (RFC 5321 §4.1.1.1).

use wire::sasl::Mechanism;

/// The extensions of EHLO's reply that we know; none after HELO.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each extension")]
pub(super) struct Offers {
    pub(super) pipelining: bool,
    pub(super) starttls: bool,
    pub(super) eight_bit_mime: bool,
    pub(super) binary_mime: bool,
    pub(super) smtputf8: bool,
    pub(super) chunking: bool,
    pub(super) dsn: bool,
    pub(super) requiretls: bool,
    pub(super) mt_priority: bool,
    pub(super) deliver_by: bool,
    /// Shortest time of delivery that the server promises, seconds.
    pub(super) deliver_by_min: Option<i64>,
    /// LIMITS (RFC 9422).
    pub(super) limits: OfferedLimits,
    pub(super) size: bool,
    /// Largest message, where it was said.
    pub(super) size_max: Option<u64>,
    pub(super) mechanisms: Vec<Mechanism>,
}

/// What a server says it takes at most (RFC 9422 §4); `None`: it does not say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfferedLimits {
    /// Transactions of one connection.
    pub(super) mails: Option<usize>,
    /// Recipients of one transaction.
    pub(super) recipients: Option<usize>,
    /// Different domains among them.
    pub(super) domains: Option<usize>,
}

impl OfferedLimits {
    /// Unknown limits, and values that are none, are passed over (RFC 9422 §3).
    fn parse(text: &str) -> Self {
        let mut limits = Self::default();
        for (name, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
            let value = value.parse().ok().filter(|value| *value > 0);
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mails = value,
                "RCPTMAX" => limits.recipients = value,
                "RCPTDOMAINMAX" => limits.domains = value,
                _ => {}
            }
        }
        limits
    }
}

impl Offers {
    /// Reads the text of EHLO's reply, whose first line is the server's name.
    pub(super) fn parse(text: &str) -> Self {
        let mut offers = Self::default();
        text.split('\n').skip(1).for_each(|line| offers.line(line));
        offers
    }

    fn line(&mut self, line: &str) {
        // Deviation: `AUTH=PLAIN LOGIN` is an old Exchange's way.
        let (keyword, args) = line.split_once([' ', '=']).unwrap_or((line, ""));
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "STARTTLS" => self.starttls = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "BINARYMIME" => self.binary_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.requiretls = true,
            "MT-PRIORITY" => self.mt_priority = true,
            "DELIVERBY" => {
                self.deliver_by = true;
                self.deliver_by_min = args.trim().parse().ok();
            }
            "LIMITS" => self.limits = OfferedLimits::parse(line.get(keyword.len() + 1..).unwrap_or_default()),
            "SIZE" => {
                self.size = true;
                // 0 is no limit (RFC 1870 §3).
                self.size_max = args.trim().parse().ok().filter(|max| *max > 0);
            }
            "AUTH" => self.mechanisms.extend(args.split_whitespace().filter_map(Mechanism::parse)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_any_case() {
        let offers =
            Offers::parse("SIZE.example STARTTLS\npipelining\nSize 1000\nAUTH=LOGIN\nAUTH PLAIN XOAUTH2 scram-sha-256\nX-NEW thing");
        assert!(offers.pipelining && offers.size && !offers.starttls && !offers.dsn);
        assert_eq!(offers.size_max, Some(1000));
        assert_eq!(offers.mechanisms, [Mechanism::Login, Mechanism::Plain, Mechanism::XOAuth2, Mechanism::ScramSha256]);
        assert_eq!(Offers::parse("a\nSIZE 0").size_max, None);
    }

    #[test]
    fn limits_are_read() {
        let limits = |mails, recipients, domains| OfferedLimits { mails, recipients, domains };
        for (text, want) in [
            ("a\nLIMITS MAILMAX=5 RCPTMAX=100 RCPTDOMAINMAX=1", limits(Some(5), Some(100), Some(1))),
            ("a\nlimits rcptmax=7 NEW=3", limits(None, Some(7), None)),
            ("a\nLIMITS RCPTMAX=0 MAILMAX=x", limits(None, None, None)),
            ("a\nLIMITS", limits(None, None, None)),
        ] {
            assert_eq!(Offers::parse(text).limits, want, "{text}");
        }
    }
}
