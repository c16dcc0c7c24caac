//! Whom a client's certificate speaks for: the mail addresses in it (X.509, RFC 5280).
//!
//! Not its verification: only verified certificates come here, and yet nothing in them is taken for well formed.
//!
//! The addresses are the `rfc822Name`s of the subject's alternative names (§4.2.1.6); without any, the
//! subject's `emailAddress`; without that, a common name that looks like an address.

/// Most addresses of one certificate; what comes after them is left out. Our own bound.
const ADDRESSES_MAX: usize = 16;
/// Longest address, octets (RFC 5321 §4.5.3.1.3).
const ADDRESS_OCTETS_MAX: usize = 254;

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// `[0]` of the version and `[3]` of the extensions, both constructed.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `[1]` of a general name: `rfc822Name`.
const RFC822_NAME: u8 = 0x81;
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const EMAIL_ADDRESS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The addresses that a certificate (DER) speaks for; none if it cannot be read.
pub fn client_addresses(certificate: &[u8]) -> Vec<String> {
    let Some(fields) = fields(certificate) else { return Vec::new() };
    let found = [alternative_names(&fields), of_subject(&fields, EMAIL_ADDRESS), of_subject(&fields, COMMON_NAME)];
    found.into_iter().find(|addresses| !addresses.is_empty()).unwrap_or_default()
}

/// The fields of `TBSCertificate` behind the version (§4.1).
fn fields(certificate: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let whole = Der(certificate).contents_of(SEQUENCE)?;
    let fields = Der(Der(whole).contents_of(SEQUENCE)?).filter(|(tag, _)| *tag != VERSION);
    Some(fields.collect())
}

fn alternative_names(fields: &[(u8, &[u8])]) -> Vec<String> {
    let extensions = fields.iter().find(|(tag, _)| *tag == EXTENSIONS).and_then(|(_, inner)| Der(inner).contents_of(SEQUENCE));
    let names = Der(extensions.unwrap_or_default()).find_map(|(_, extension)| {
        let mut parts = Der(extension);
        let id = parts.contents_of(OBJECT_ID)?;
        let value = parts.find(|(tag, _)| *tag == OCTET_STRING).filter(|_| id == SUBJECT_ALT_NAME)?;
        Der(value.1).contents_of(SEQUENCE)
    });
    addresses(Der(names.unwrap_or_default()).filter(|(tag, _)| *tag == RFC822_NAME).map(|(_, name)| name))
}

/// Serial, algorithm, issuer, validity, and then the subject: a sequence of sets of pairs.
fn of_subject(fields: &[(u8, &[u8])], attribute: &[u8]) -> Vec<String> {
    let subject = fields.get(4).map(|(_, inner)| *inner).unwrap_or_default();
    let pairs = Der(subject).flat_map(|(_, set)| Der(set));
    addresses(pairs.filter_map(|(_, pair)| {
        let mut parts = Der(pair);
        (parts.contents_of(OBJECT_ID)? == attribute).then(|| parts.next().map(|(_, value)| value))?
    }))
}

fn addresses<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let address = |value: &'a [u8]| {
        let text = std::str::from_utf8(value).ok()?;
        let whole = text.contains('@') && text.len() <= ADDRESS_OCTETS_MAX && !text.chars().any(char::is_control);
        whole.then(|| text.to_owned())
    };
    values.filter_map(address).take(ADDRESSES_MAX).collect()
}

/// DER values one after the other, as tag and contents; ends at what is none.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next value, if it has this tag.
    fn contents_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, inner)| inner)
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (octets, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Four octets of length are more than any certificate needs.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (length.iter().try_fold(0_usize, |sum, octet| sum.checked_mul(256)?.checked_add(usize::from(*octet)))?, rest)
            }
            _ => return None,
        };
        let (inner, behind) = rest.split_at_checked(octets)?;
        self.0 = behind;
        Some((*tag, inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    fn certificate(names: &[&str], common_name: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        params.subject_alt_names.extend(names.iter().map(|name| SanType::Rfc822Name((*name).try_into().unwrap())));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "An Organization");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn addresses_are_found() {
        for (names, common_name, want) in [
            (vec!["ann@example.org", "a@b.example"], "bob@example.org", vec!["ann@example.org", "a@b.example"]),
            (vec![], "ann@example.org", vec!["ann@example.org"]),
            (vec![], "Ann Archer", vec![]),
        ] {
            assert_eq!(client_addresses(&certificate(&names, common_name)), want);
        }
        let many = vec!["ann@example.org"; ADDRESSES_MAX + 5];
        assert_eq!(client_addresses(&certificate(&many, "x")).len(), ADDRESSES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn hostile_certificates_do_no_harm(octets: Vec<u8>, at in 0_usize..400, with: u8) {
            crate::fuzz::client_certificate(&octets);
            let mut broken = certificate(&["ann@example.org"], "x");
            if let Some(octet) = broken.get_mut(at) {
                *octet = with;
            }
            crate::fuzz::client_certificate(&broken);
        }
    }
}
