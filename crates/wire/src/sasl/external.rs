//! EXTERNAL (RFC 4422 appendix A): the certificate of the TLS connection says who the client is.
//!
//! Not the judgement of the certificate: TLS has verified it, or there are no addresses here.

use super::{Failure, SaslAsk, Step, prepared};
use crate::Tls;

/// The server side.
#[derive(Debug)]
pub(super) struct Server {
    /// The addresses that the verified certificate speaks for.
    addresses: Vec<String>,
}

impl Server {
    pub(super) fn new(tls: Option<&Tls>) -> Self {
        let addresses = tls.filter(|tls| tls.verified).map(|tls| tls.client_addresses.clone());
        Self { addresses: addresses.unwrap_or_default() }
    }

    /// The message is the identity to act as, or empty: the certificate's own.
    pub(super) fn step(&mut self, message: &[u8]) -> Step {
        let Some(text) = std::str::from_utf8(message).ok().filter(|text| !text.contains('\0')) else {
            return Step::Failed(Failure::Malformed);
        };
        let addresses = std::mem::take(&mut self.addresses);
        if addresses.is_empty() {
            return Step::Failed(Failure::Credentials);
        }
        Step::Ask(SaslAsk::Certificate { login: (!text.is_empty()).then(|| prepared(text)), addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mechanism};
    use super::*;

    #[test]
    fn the_identity_may_be_left_to_the_certificate() {
        let addresses = vec!["ann@example.org".to_owned()];
        let tls = Tls { verified: true, client_addresses: addresses.clone(), ..Tls::default() };
        let asked = |login: Option<&str>| Step::Ask(SaslAsk::Certificate { login: login.map(str::to_owned), addresses: addresses.clone() });
        for (message, want) in [
            (&b""[..], asked(None)),
            (b"ann@example.org", asked(Some("ann@example.org"))),
            (b"a\0b", Step::Failed(Failure::Malformed)),
            (b"\xff", Step::Failed(Failure::Malformed)),
        ] {
            let mut exchange = Exchange::new(Mechanism::External, "", Some(&tls));
            assert_eq!(exchange.start(Some(message)), want, "{}", message.escape_ascii());
        }
        let mut exchange = Exchange::new(Mechanism::External, "", Some(&tls));
        assert_eq!(exchange.start(None), Step::Challenge(Vec::new()));
    }

    #[test]
    fn without_a_verified_certificate_nobody_is_anybody() {
        let unverified = Tls { client_addresses: vec!["ann@example.org".to_owned()], ..Tls::default() };
        for tls in [None, Some(&unverified)] {
            assert_eq!(Exchange::new(Mechanism::External, "", tls).step(b""), Step::Failed(Failure::Credentials));
        }
    }
}
