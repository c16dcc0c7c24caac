//! The PROXY protocol, versions 1 and 2: a proxy in front of us says who the real peer is.
//!
//! Pure: octets in, addresses out. Not a guess: a listener reads a header only from networks that are
//! configured as proxies, and then it must be there (the specification, §2: "The receiver MUST be
//! configured to only receive the protocol … and MUST not try to guess").
//!
//! Invariant: a header is at most [`HEADER_OCTETS_MAX`] octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Octets a version 2 header starts with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest version 1 header, octets, CRLF included (§2.1).
const LINE_OCTETS_MAX: usize = 107;

/// Longest header we read, octets. Version 2 could say 65,551; addresses need 232 and real proxies'
/// extensions (TLS facts, ids) a few hundred more.
pub const HEADER_OCTETS_MAX: usize = 4096;

/// What the octets so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Too few to say: at least `octets` more are needed, and reading those does not read past the header.
    Incomplete {
        /// At least 1.
        octets: usize,
    },
    /// A header of `octets` octets.
    Header {
        /// Its length.
        octets: usize,
        /// The real peer and where it connected to; `None` for LOCAL and UNKNOWN: the proxy speaks for itself.
        addresses: Option<Addresses>,
    },
    /// No header.
    Invalid(&'static str),
}

/// Who connected, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The real peer.
    pub source: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
}

/// Reads the header at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let start = bytes.get(..SIGNATURE.len().min(bytes.len())).unwrap_or_default();
    if SIGNATURE.starts_with(start) && !start.is_empty() {
        return if bytes.len() < 16 { Parsed::Incomplete { octets: 16 - bytes.len() } } else { binary(bytes) };
    }
    if !b"PROXY ".starts_with(bytes.get(..6.min(bytes.len())).unwrap_or_default()) {
        return Parsed::Invalid("neither version 1 nor version 2");
    }
    line(bytes)
}

/// Version 1. The shortest header is `PROXY UNKNOWN` and CRLF, 15 octets.
fn line(bytes: &[u8]) -> Parsed {
    const SHORTEST: usize = "PROXY UNKNOWN\r\n".len();
    let Some(end) = bytes.iter().take(LINE_OCTETS_MAX).position(|byte| *byte == b'\n') else {
        if bytes.len() >= LINE_OCTETS_MAX {
            return Parsed::Invalid("the line is too long");
        }
        return Parsed::Incomplete { octets: SHORTEST.saturating_sub(bytes.len()).max(1) };
    };
    let text = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r")).and_then(|line| std::str::from_utf8(line).ok());
    let Some(text) = text else { return Parsed::Invalid("the line does not end in CRLF or is no text") };
    match line_addresses(text) {
        Ok(addresses) => Parsed::Header { octets: end + 1, addresses },
        Err(reason) => Parsed::Invalid(reason),
    }
}

fn line_addresses(text: &str) -> Result<Option<Addresses>, &'static str> {
    let mut words = text.split(' ').skip(1);
    match words.next() {
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => text_pair::<Ipv4Addr>(words),
        Some("TCP6") => text_pair::<Ipv6Addr>(words),
        _ => return Err("neither TCP4, TCP6 nor UNKNOWN"),
    }
    .map(Some)
    .ok_or("two addresses and two ports are expected")
}

fn text_pair<'a, T: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<Addresses> {
    let source = words.next()?.parse::<T>().ok()?.into();
    let destination = words.next()?.parse::<T>().ok()?.into();
    let source_port = port(words.next()?)?;
    let destination_port = port(words.next()?)?;
    let addresses = Addresses { source: SocketAddr::new(source, source_port), destination: SocketAddr::new(destination, destination_port) };
    words.next().is_none().then_some(addresses)
}

/// A number as the specification writes it: no sign, no leading zero.
fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// Version 2; the 16 fixed octets are there.
fn binary(bytes: &[u8]) -> Parsed {
    let &[version_command, family, high, low] = bytes.get(12..16).and_then(|fixed| <&[u8; 4]>::try_from(fixed).ok()).unwrap_or(&[0; 4]);
    let octets = 16 + usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 {
        return Parsed::Invalid("the version is not 2");
    }
    if octets > HEADER_OCTETS_MAX {
        return Parsed::Invalid("the header is too long");
    }
    let Some(body) = bytes.get(16..octets) else { return Parsed::Incomplete { octets: octets - bytes.len() } };
    let addresses = match (version_command & 0x0f, family) {
        (1, 0x11) => binary_pair::<4>(body).ok_or("too short for two IPv4 addresses").map(Some),
        (1, 0x21) => binary_pair::<16>(body).ok_or("too short for two IPv6 addresses").map(Some),
        // LOCAL, and the families we do not know (§2.2: the receiver uses the real connection's endpoints).
        (0 | 1, _) => Ok(None),
        _ => Err("the command is neither LOCAL nor PROXY"),
    };
    match addresses {
        Ok(addresses) => Parsed::Header { octets, addresses },
        Err(reason) => Parsed::Invalid(reason),
    }
}

/// Source, destination, their ports; what follows (TLVs) is skipped.
fn binary_pair<const N: usize>(body: &[u8]) -> Option<Addresses>
where
    [u8; N]: Into<IpAddr>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Addresses {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes(*destination_port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    fn check(input: &[u8], source: Option<&str>) {
        let Parsed::Header { octets, addresses } = parse(input) else { panic!("{:?}", parse(input)) };
        assert_eq!(octets, input.len());
        assert_eq!(addresses.map(|a| a.source.to_string()), source.map(str::to_owned));
        for cut in 0..input.len() {
            let Parsed::Incomplete { octets } = parse(&input[..cut]) else { panic!("{cut}: {:?}", parse(&input[..cut])) };
            assert!(octets >= 1 && cut + octets <= input.len(), "would read past the header at {cut}");
        }
        let more = [input, b"EHLO x\r\n"].concat();
        assert!(matches!(parse(&more), Parsed::Header { octets, .. } if octets == input.len()));
    }

    #[test]
    fn headers_are_read() {
        check(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n", Some("192.0.2.1:56324"));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n", Some("[2001:db8::1]:1"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3 4\r\n", None);
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 220, 4, 0, 25];
        check(&v2(0x21, 0x11, &v4), Some("192.0.2.1:56324"));
        check(&v2(0x21, 0x11, &[&v4[..], &[0x20, 0, 3, 1, 2, 3]].concat()), Some("192.0.2.1:56324"));
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0, 9, 0, 25]].concat();
        check(&v2(0x21, 0x21, &v6), Some("[::1]:9"));
        check(&v2(0x20, 0, &[]), None);
        check(&v2(0x20, 0x11, &v4), None);
        check(&v2(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (input, want) in [
            (&b"EHLO example\r\n"[..], "neither version 1 nor version 2"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", "two addresses and two ports are expected"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25 1\r\n", "two addresses and two ports are expected"),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", "two addresses and two ports are expected"),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "two addresses and two ports are expected"),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "two addresses and two ports are expected"),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", "two addresses and two ports are expected"),
            (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "neither TCP4, TCP6 nor UNKNOWN"),
            (b"PROXY UNKNOWN\n\r\n", "the line does not end in CRLF or is no text"),
        ] {
            assert_eq!(parse(input), Parsed::Invalid(want), "{}", input.escape_ascii());
        }
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'x'; 120]].concat()), Parsed::Invalid("the line is too long"));
        assert_eq!(parse(&v2(0x11, 0x11, &[0; 12])), Parsed::Invalid("the version is not 2"));
        assert_eq!(parse(&v2(0x22, 0x11, &[0; 12])), Parsed::Invalid("the command is neither LOCAL nor PROXY"));
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 11])), Parsed::Invalid("too short for two IPv4 addresses"));
        assert_eq!(parse(&v2(0x21, 0x21, &[0; 35])), Parsed::Invalid("too short for two IPv6 addresses"));
        assert_eq!(parse(&v2(0x21, 0x11, &[0; 5000])), Parsed::Invalid("the header is too long"));
    }

    proptest! {
        #[test]
        fn hostile_octets_do_no_harm(start in prop::sample::select(vec![&b""[..], b"PROXY ", SIGNATURE, b"PROXY TCP4 "]), rest: Vec<u8>) {
            crate::fuzz::proxy_protocol(&[start, &rest].concat());
        }
    }
}
