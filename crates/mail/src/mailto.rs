//! `mailto:` addresses, as policies in DNS name those who want reports (RFC 6068, RFC 3986 §2.1).

use crate::address::Address;

/// The address of a `mailto:` URI; what stands behind a question mark is passed over. `None`: it is none.
pub fn mailto(uri: &str) -> Option<Address> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    Address::parse(&decoded(rest.split('?').next().unwrap_or_default())?).ok()
}

/// Takes percent signs off.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        if *first != b'%' {
            out.push(*first);
            rest = more;
            continue;
        }
        let (digits, more) = more.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = more;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found() {
        let check = |uri: &str, want: Option<&str>| assert_eq!(mailto(uri).map(|address| address.to_string()).as_deref(), want, "{uri}");
        check("mailto:a@x.example", Some("a@x.example"));
        check("MAILTO:a%2Bb@x.example?subject=y", Some("a+b@x.example"));
        check("mailto:a%2@x.example", None);
        check("mailto:a%zz@x.example", None);
        check("https://x.example/a@x.example", None);
        check("a@x.example", None);
    }
}
