//! The server side of SCRAM.
//!
//! ```text
//!  First ──n,,n=user,r=…──▶ (Ask) Verifier ──r=…,s=…,i=…──▶ Proof ──c=…,r=…,p=…──▶ Last ──v=…──▶ (empty) Done
//! ```
//!
//! The server's signature goes out as a last challenge and the client answers it with an empty message: SMTP,
//! IMAP and POP3 have no place for it beside their success (RFC 4954 §4, RFC 9051 §6.2.2, RFC 5034 §4).

use super::super::{Failure, SaslAsk, Step, Success, read};
use super::{BINDING, Hash, Key, ScramVerifier, attribute, decode, encode, is_nonce, unescape_name, xor};
use crate::Tls;
use subtle::ConstantTimeEq as _;

#[derive(Debug)]
pub(in crate::sasl) struct Server {
    hash: Hash,
    nonce: String,
    /// The connection's channel binding, where there is one and it is offered.
    exporter: Option<[u8; 32]>,
    /// Whether the mechanism is `-PLUS`.
    plus: bool,
    /// From which verifiers of unknown logins are invented.
    pretence_key: Key,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    Verifier(First),
    Proof(Proof),
    Last(Success),
    Over,
}

/// What the client's first message said.
#[derive(Debug)]
struct First {
    /// The GS2 header with its last comma: `n,,`
    header: String,
    authzid: Option<String>,
    login: String,
    nonce: String,
    /// The message without the GS2 header.
    bare: String,
}

#[derive(Debug)]
struct Proof {
    first: First,
    server_first: String,
    nonce: String,
    verifier: ScramVerifier,
    /// Whether there is such an account at all.
    known: bool,
}

impl Server {
    pub(in crate::sasl) fn new(hash: Hash, nonce: &str, tls: Option<&Tls>, plus: bool) -> Self {
        let exporter = tls.and_then(|tls| tls.exporter);
        let pretence_key = Hash::Sha256.mac(nonce.as_bytes(), &[b"pretence"]);
        Self { hash, nonce: nonce.to_owned(), exporter, plus, pretence_key, state: State::First }
    }

    pub(in crate::sasl) fn pretend_with(&mut self, key: &[u8]) {
        self.pretence_key = key.to_vec().into();
    }

    pub(in crate::sasl) fn unbind(&mut self) {
        self.exporter = None;
    }

    pub(in crate::sasl) fn step(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::First => self.first(message),
            State::Proof(proof) => self.proof(&proof, message),
            State::Last(success) if message.is_empty() => Step::Done(success),
            State::Last(_) | State::Verifier(_) | State::Over => Step::Failed(Failure::Malformed),
        }
    }

    /// Takes the keys, or goes on with invented ones.
    pub(in crate::sasl) fn verifier(&mut self, verifier: Option<ScramVerifier>) -> Step {
        let State::Verifier(first) = std::mem::replace(&mut self.state, State::Over) else {
            return Step::Failed(Failure::Temporary);
        };
        let verifier = verifier.filter(|verifier| verifier.hash == self.hash);
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| ScramVerifier::pretended(self.hash, &self.pretence_key, &first.login));
        let nonce = format!("{}{}", first.nonce, self.nonce);
        let server_first = format!("r={nonce},s={},i={}", encode(&verifier.salt), verifier.iterations);
        let challenge = server_first.clone().into_bytes();
        self.state = State::Proof(Proof { first, server_first, nonce, verifier, known });
        Step::Challenge(challenge)
    }

    fn first(&mut self, message: &[u8]) -> Step {
        let Some(first) = std::str::from_utf8(message).ok().and_then(First::parse) else {
            return Step::Failed(Failure::Malformed);
        };
        if let Some(failure) = self.binding_failure(&first.header) {
            return Step::Failed(failure);
        }
        let login = first.login.clone();
        self.state = State::Verifier(first);
        Step::Ask(SaslAsk::ScramVerifier { hash: self.hash, login })
    }

    /// RFC 5802 §6: `y` says that the client could bind but was not offered it. If it was, somebody in between took
    /// the offer away.
    fn binding_failure(&self, header: &str) -> Option<Failure> {
        let flag = header.split(',').next().unwrap_or_default();
        match (self.plus, flag) {
            (true, flag) if attribute(flag, 'p') == Some(BINDING) && self.exporter.is_some() => None,
            (false, "n") => None,
            (false, "y") => self.exporter.is_some().then_some(Failure::Credentials),
            _ => Some(Failure::Malformed),
        }
    }

    fn proof(&mut self, proof: &Proof, message: &[u8]) -> Step {
        match std::str::from_utf8(message).ok().and_then(|text| self.signature(proof, text)) {
            None => Step::Failed(Failure::Malformed),
            Some(Err(failure)) => Step::Failed(failure),
            Some(Ok(signature)) => {
                let ScramVerifier { account, ref login, .. } = proof.verifier;
                self.state = State::Last(Success { account, login: login.clone() });
                Step::Challenge(format!("v={}", encode(&signature)).into_bytes())
            }
        }
    }

    /// The server's signature if the client's proof is right; `None` if the message breaks the grammar.
    fn signature(&self, proof: &Proof, message: &str) -> Option<Result<Key, Failure>> {
        let (unproved, claimed) = message.rsplit_once(",p=")?;
        let mut parts = unproved.split(',');
        let binding = decode(attribute(parts.next()?, 'c')?)?;
        let nonce = attribute(parts.next()?, 'r')?;
        let claimed = Key::new(decode(claimed).filter(|claimed| claimed.len() == self.hash.octets())?);

        let auth_message = [proof.first.bare.as_bytes(), b",", proof.server_first.as_bytes(), b",", unproved.as_bytes()];
        let client_signature = self.hash.mac(&proof.verifier.stored_key, &auth_message);
        let proved = self.hash.of(&xor(&claimed, &client_signature)).ct_eq(&proof.verifier.stored_key);
        let bound = binding.ct_eq(&self.expected_binding(&proof.first.header));
        let acts_as_itself = proof.first.authzid.as_ref().is_none_or(|authzid| *authzid == proof.first.login);
        if bool::from(proved & bound) && nonce == proof.nonce && proof.known && acts_as_itself {
            return Some(Ok(self.hash.mac(&proof.verifier.server_key, &auth_message)));
        }
        Some(Err(Failure::Credentials))
    }

    fn expected_binding(&self, header: &str) -> Vec<u8> {
        let mut expected = header.as_bytes().to_vec();
        if self.plus {
            expected.extend_from_slice(self.exporter.as_ref().map_or(&[], |exporter| exporter.as_slice()));
        }
        expected
    }
}

impl First {
    /// `gs2-cbind-flag "," [ "a=" authzid ] "," "n=" name "," "r=" nonce ["," extensions]` (RFC 5802 §7).
    fn parse(message: &str) -> Option<Self> {
        let (flag, rest) = message.split_once(',')?;
        let (authzid, bare) = rest.split_once(',')?;
        let header_octets = flag.len() + 1 + authzid.len() + 1;
        let mut parts = bare.split(',');
        let name = attribute(parts.next()?, 'n')?;
        let nonce = attribute(parts.next()?, 'r').filter(|nonce| is_nonce(nonce))?;
        let authzid = match authzid {
            "" => None,
            text => Some(read(unescape_name(attribute(text, 'a')?)?.as_bytes())?),
        };
        Some(Self {
            header: message.get(..header_octets)?.to_owned(),
            authzid,
            login: read(unescape_name(name)?.as_bytes())?,
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Exchange, Mechanism, SaslAnswer, Secret};
    use super::*;

    const TLS_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn pencil() -> ScramVerifier {
        let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramVerifier::derive(Hash::Sha256, &Secret::new("pencil"), &salt, 4096, 7, "user")
    }

    fn bound() -> Tls {
        Tls { exporter: Some([9; 32]), ..Tls::default() }
    }

    /// The exchange of RFC 7677 §3, up to the server's first message.
    fn greeted(first: &[u8], tls: Option<&Tls>, mechanism: Mechanism) -> (Exchange, Step) {
        let mut exchange = Exchange::new(mechanism, TLS_NONCE, tls).pretending(&[3; 32]);
        let step = exchange.step(first);
        (exchange, step)
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (mut exchange, asked) = greeted(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", None, Mechanism::ScramSha256);
        assert_eq!(asked, Step::Ask(SaslAsk::ScramVerifier { hash: Hash::Sha256, login: "user".to_owned() }));
        let challenge = exchange.answered(SaslAnswer::Verifier(Some(pencil())));
        let want = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(challenge, Step::Challenge(want.to_vec()));
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(exchange.step(last), Step::Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec()));
        assert_eq!(exchange.step(b""), Step::Done(Success { account: 7, login: "user".to_owned() }));
        assert_eq!(exchange.step(b""), Step::Failed(Failure::Malformed));
    }

    #[test]
    fn the_example_of_rfc_5802() {
        let salt = decode("QSXCR+Q6sek8bf92").unwrap();
        let keys = ScramVerifier::derive(Hash::Sha1, &Secret::new("pencil"), &salt, 4096, 7, "user");
        let mut exchange = Exchange::new(Mechanism::ScramSha1, "3rfcNHYJY1ZVvWVs7j", None);
        let asked = exchange.start(Some(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"));
        assert_eq!(asked, Step::Ask(SaslAsk::ScramVerifier { hash: Hash::Sha1, login: "user".to_owned() }));
        let challenge = exchange.answered(SaslAnswer::Verifier(Some(keys)));
        let want = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        assert_eq!(challenge, Step::Challenge(want.to_vec()));
        let last = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(exchange.step(last), Step::Challenge(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_vec()));
        assert_eq!(exchange.step(b""), Step::Done(Success { account: 7, login: "user".to_owned() }));
    }

    #[test]
    fn keys_of_another_hash_are_no_keys() {
        let mut exchange = Exchange::new(Mechanism::ScramSha1, "server-nonce", None).pretending(&[3; 32]);
        exchange.step(b"n,,n=user,r=x");
        let Step::Challenge(challenge) = exchange.answered(SaslAnswer::Verifier(Some(pencil()))) else { panic!("no challenge") };
        assert!(!challenge.ends_with(b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        let failed = exchange.step(format!("c=biws,r=xserver-nonce,p={}", encode(&[0; 20])).as_bytes());
        assert_eq!(failed, Step::Failed(Failure::Credentials));
    }

    #[test]
    fn first_messages_that_are_refused() {
        let malformed = Step::Failed(Failure::Malformed);
        for first in [
            "",
            "n",
            "n,,",
            "n,,n=",
            "n,,n=,r=x",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=a=,r=x",
            "n,b=x,n=user,r=x",
            "x,,n=user,r=x",
            "n,,m=1,n=user,r=x",
            "n,,n=user,r=\u{e9}",
        ] {
            assert_eq!(greeted(first.as_bytes(), None, Mechanism::ScramSha256).1, malformed, "{first}");
        }
    }

    #[test]
    fn channel_bindings_are_judged() {
        use Mechanism::{ScramSha256, ScramSha256Plus};
        let asked = || Step::Ask(SaslAsk::ScramVerifier { hash: Hash::Sha256, login: "u".to_owned() });
        for (mechanism, tls, flag, want) in [
            (ScramSha256, None, "n", asked()),
            (ScramSha256, None, "y", asked()),
            (ScramSha256, Some(bound()), "n", asked()),
            // The offer of -PLUS was taken away on its way to the client.
            (ScramSha256, Some(bound()), "y", Step::Failed(Failure::Credentials)),
            (ScramSha256, Some(bound()), "p=tls-exporter", Step::Failed(Failure::Malformed)),
            (ScramSha256Plus, Some(bound()), "p=tls-exporter", asked()),
            (ScramSha256Plus, Some(bound()), "p=tls-unique", Step::Failed(Failure::Malformed)),
            (ScramSha256Plus, Some(bound()), "n", Step::Failed(Failure::Malformed)),
            (ScramSha256Plus, None, "p=tls-exporter", Step::Failed(Failure::Malformed)),
        ] {
            let first = format!("{flag},,n=u,r=x");
            assert_eq!(greeted(first.as_bytes(), tls.as_ref(), mechanism).1, want, "{mechanism} {first}");
        }
    }

    #[test]
    fn an_unknown_login_always_shows_the_same_salt_and_fails_at_the_proof() {
        let challenge = |nonce: &str| {
            let mut exchange = Exchange::new(Mechanism::ScramSha256, nonce, None).pretending(&[3; 32]);
            exchange.step(b"n,,n=nobody,r=x");
            let Step::Challenge(challenge) = exchange.answered(SaslAnswer::Verifier(None)) else { panic!("no challenge") };
            let text = String::from_utf8(challenge).unwrap();
            let failed = exchange.step(format!("c=biws,r=x{nonce},p={}", encode(&[0; 32])).as_bytes());
            assert_eq!(failed, Step::Failed(Failure::Credentials));
            text.split_once(",s=").unwrap().1.to_owned()
        };
        assert_eq!(challenge("one"), challenge("two"));
    }

    #[test]
    fn proofs_that_are_refused() {
        let nonce = format!("rOprNGfwEbeRWgbNEkqO{TLS_NONCE}");
        let good = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        for (last, want) in [
            (String::new(), Failure::Malformed),
            (format!("c=biws,r={nonce}"), Failure::Malformed),
            (format!("c=biws,r={nonce},p=AAAA"), Failure::Malformed),
            (format!("c=biws,r={nonce},p={}", encode(&[1; 32])), Failure::Credentials),
            (format!("c=biws,r=other,p={good}"), Failure::Credentials),
            (format!("c=eSws,r={nonce},p={good}"), Failure::Credentials),
        ] {
            let (mut exchange, _) = greeted(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", None, Mechanism::ScramSha256);
            exchange.answered(SaslAnswer::Verifier(Some(pencil())));
            assert_eq!(exchange.step(last.as_bytes()), Step::Failed(want), "{last}");
        }
    }
}
