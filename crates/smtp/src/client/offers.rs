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
    pub(super) size: bool,
    /// Largest message, where it was said.
    pub(super) size_max: Option<u64>,
    pub(super) mechanisms: Vec<Mechanism>,
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
}
