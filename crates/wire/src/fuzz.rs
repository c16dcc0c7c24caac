//! Entries for fuzzing.

use crate::sasl::client::{Client, Credentials};
use crate::sasl::{Exchange, Failure, Mechanism, SaslAnswer, SaslAsk, ScramVerifier, Secret, Step, TokenError};
use crate::transcript::{escape, octets};
use crate::{Inbox, Tls};

/// Hostile messages to both sides of each mechanism, and hostile octets to the line reader.
pub fn fuzz(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    for mechanism in Mechanism::ALL {
        let tls = Tls {
            exporter: (kind % 2 == 0).then_some([1; 32]),
            verified: kind % 3 == 0,
            client_addresses: vec!["ann@example.org".to_owned()],
            ..Tls::default()
        };
        serve(Exchange::new(mechanism, "server-nonce", Some(&tls)), data);
        let credentials = Credentials { login: "user".to_owned(), password: Secret::new("pencil") };
        let mut client = Client::new(mechanism, credentials, "client-nonce", Some(&tls));
        let _ = client.initial();
        for message in data.split(|octet| *octet == b'\n') {
            let _ = client.step(message);
        }
    }
    read_lines(usize::from(*kind), data);
    let _ = octets(&escape(data));
}

fn serve(mut exchange: Exchange, data: &[u8]) {
    for message in data.split(|octet| *octet == b'\n') {
        if let Step::Ask(ask) = exchange.step(message) {
            let _ = exchange.answered(made_up(ask, data));
        }
    }
}

fn made_up(ask: SaslAsk, data: &[u8]) -> SaslAnswer {
    let verifier = |hash, n: u8| ScramVerifier {
        hash,
        salt: vec![n],
        iterations: 1,
        stored_key: vec![n; 32],
        server_key: vec![n; 32],
        account: 0,
        login: String::new(),
    };
    match ask {
        SaslAsk::ScramVerifier { hash, .. } => SaslAnswer::Verifier(data.first().map(|n| verifier(hash, *n))),
        SaslAsk::Token { login, .. } => SaslAnswer::TokenRefused(TokenError { scope: login, openid_configuration: None }),
        SaslAsk::Password { login, .. } => SaslAnswer::Account { account: 1, login },
        SaslAsk::Certificate { .. } => SaslAnswer::Refused(Failure::Credentials),
    }
}

fn read_lines(octets_max: usize, data: &[u8]) {
    let mut inbox = Inbox::new(octets_max);
    for piece in data.chunks(7) {
        inbox.push(piece);
        while inbox.line().is_some() {}
        assert!(inbox.len() <= octets_max + 7, "the inbox grows beyond its cap");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_octets_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::fuzz(&data);
        }

        #[test]
        fn hostile_words_do_no_harm(words in proptest::collection::vec("(n,,|y,,|p=tls-exporter,,|n=a|,r=client-nonce|,r=x|,s=AAAA|,i=4096|c=biws|,p=|=2C|v=|n,a=|auth=Bearer |user=|\x01|\n|\r|\0|,)", 0..30)) {
            super::fuzz(format!("a{}", words.concat()).as_bytes());
        }
    }
}
