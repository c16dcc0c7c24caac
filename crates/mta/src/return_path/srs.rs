//! The Sender Rewriting Scheme: mail that we forward leaves with a sender of ours, so that SPF passes, and what its new
//! destination returns finds the way back to who sent it.
//!
//! ```text
//! ann@a.example              ─▶ SRS0=hash=day=a.example=ann@ours
//! SRS0=…=a.example=ann@first ─▶ SRS1=hash=first==…=a.example=ann@ours     (forwarded to us before)
//! too long for an address    ─▶ SRS0=hash=day==token@ours                 (the token is in the store)
//! ```
//!
//! No RFC: the scheme is Wong's of 2003 (libsrs2); the hash is HMAC-SHA-256 in base 32.
//!
//! Invariant: nothing but what was made with the key leads anywhere.

use super::{Key, address, letter, number};
use mail::{Address, Domain};

/// Letters of `SRS0` and `SRS1`.
const SCHEME_LETTERS: usize = 4;
/// What may stand behind them.
const SEPARATORS: [char; 3] = ['=', '+', '-'];
/// Letters of a hash: 30 bits.
const HASH_LETTERS: usize = 6;
/// Letters of a token: 80 bits.
const TOKEN_LETTERS: usize = 16;
/// Days repeat after so many.
const DAYS: u32 = 1024;
/// For so many days a rewritten address leads back. Longer than any queue's lifetime, and a fortnight more.
pub const DAYS_MAX: u32 = 21;

const PURPOSE_0: &str = "srs0";
const PURPOSE_1: &str = "srs1";

/// A sender under a domain of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewritten {
    /// The address says whom it leads to.
    Whole(Address),
    /// It would be too long: it has a token, under which the sender is to be remembered.
    Named {
        /// The new address.
        address: Address,
        /// The token.
        token: String,
    },
}

/// Where a rewritten address leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// To this address.
    To(Address),
    /// To whom the store knows under this token.
    Named(String),
}

/// Why an address leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    /// It is none of this scheme.
    #[error("not a rewritten sender")]
    Other,
    /// We did not make it, or somebody changed it.
    #[error("a rewritten sender that was not made here")]
    Forged,
    /// It is older than [`DAYS_MAX`] days.
    #[error("a rewritten sender that is too old")]
    Expired,
}

/// Rewrites a sender to one at a domain of ours; `None`: not even a token would fit.
pub fn rewrite(key: &Key, sender: &Address, at: &Domain, today: u32) -> Option<Rewritten> {
    let whole = match scheme(sender.local_part()) {
        Some((0, _)) => again(key, sender.domain(), sender.local_part().get(SCHEME_LETTERS..)?, at),
        Some((_, rest)) => first_of(rest).and_then(|(first, kept)| again(key, &first, kept, at)),
        None => first(key, sender.domain().as_str(), sender.local_part(), at, today),
    };
    whole.map(Rewritten::Whole).or_else(|| {
        let token = key.sign("token", &[&sender.to_string()], TOKEN_LETTERS);
        Some(Rewritten::Named { address: first(key, "", &token, at, today)?, token })
    })
}

/// Whether an address looks like one of this scheme.
pub fn is_rewritten(address: &Address) -> bool {
    scheme(address.local_part()).is_some()
}

/// Whom a rewritten address leads back to.
///
/// # Errors
/// When it leads nowhere.
pub fn back(key: &Key, rewritten: &Address, today: u32) -> Result<Back, NoWayBack> {
    match scheme(rewritten.local_part()).ok_or(NoWayBack::Other)? {
        (0, rest) => back_to_sender(key, rest, today),
        (_, rest) => back_to_first(key, rest),
    }
}

/// `0` or `1` and what stands behind `SRS0=`; the separator can be one of three.
fn scheme(local_part: &str) -> Option<(u8, &str)> {
    let (name, rest) = local_part.split_at_checked(SCHEME_LETTERS)?;
    let number = match name.to_ascii_uppercase().as_str() {
        "SRS0" => 0,
        "SRS1" => 1,
        _ => return None,
    };
    rest.strip_prefix(SEPARATORS).map(|rest| (number, rest))
}

/// Who forwarded first and what stood behind its `SRS0`, of what stands behind `SRS1=`.
fn first_of(rest: &str) -> Option<(Domain, &str)> {
    let mut parts = rest.splitn(3, '=').skip(1);
    let first = Domain::parse(parts.next()?).ok()?;
    parts.next().filter(|kept| kept.starts_with(SEPARATORS)).map(|kept| (first, kept))
}

fn first(key: &Key, domain: &str, local_part: &str, at: &Domain, today: u32) -> Option<Address> {
    let stamp = today % DAYS;
    let stamp: String = [letter(stamp / 32), letter(stamp)].into_iter().collect();
    let hash = key.sign(PURPOSE_0, &[&stamp, domain, local_part], HASH_LETTERS);
    address(&format!("SRS0={hash}={stamp}={domain}={local_part}"), at)
}

/// `kept` is what stood behind `SRS0` at the first server that forwarded, its separator included.
fn again(key: &Key, first: &Domain, kept: &str, at: &Domain) -> Option<Address> {
    let hash = key.sign(PURPOSE_1, &[first.as_str(), kept], HASH_LETTERS);
    address(&format!("SRS1={hash}={first}={kept}"), at)
}

fn back_to_sender(key: &Key, rest: &str, today: u32) -> Result<Back, NoWayBack> {
    let mut parts = rest.splitn(4, '=');
    let (Some(hash), Some(stamp), Some(domain), Some(local_part)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(NoWayBack::Forged);
    };
    if !key.verifies(hash, PURPOSE_0, &[stamp, domain, local_part], HASH_LETTERS) {
        return Err(NoWayBack::Forged);
    }
    let made = number(stamp).ok_or(NoWayBack::Forged)?;
    // Clocks of several servers may differ by some hours.
    let age = (today + 1 + DAYS - made % DAYS) % DAYS;
    if age > DAYS_MAX + 1 {
        return Err(NoWayBack::Expired);
    }
    if domain.is_empty() {
        return Ok(Back::Named(local_part.to_ascii_lowercase()));
    }
    let domain = Domain::parse(domain).map_err(|_| NoWayBack::Forged)?;
    address(local_part, &domain).map(Back::To).ok_or(NoWayBack::Forged)
}

fn back_to_first(key: &Key, rest: &str) -> Result<Back, NoWayBack> {
    let (hash, _) = rest.split_once('=').ok_or(NoWayBack::Forged)?;
    let (first, kept) = first_of(rest).ok_or(NoWayBack::Forged)?;
    if !key.verifies(hash, PURPOSE_1, &[first.as_str(), kept], HASH_LETTERS) {
        return Err(NoWayBack::Forged);
    }
    address(&format!("SRS0{kept}"), &first).map(Back::To).ok_or(NoWayBack::Forged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new(&[7; 32])
    }

    fn ours() -> Domain {
        Domain::parse("ours.example").unwrap()
    }

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn rewritten(sender: &str, today: u32) -> Address {
        match rewrite(&key(), &parse(sender), &ours(), today).unwrap() {
            Rewritten::Whole(address) => address,
            other @ Rewritten::Named { .. } => panic!("{other:?}"),
        }
    }

    #[test]
    fn senders_find_back() {
        for sender in ["ann@a.example", "a=b+c@a.example", "\"a b\"@a.example", "bär@a.example", "Ann@[192.0.2.1]"] {
            let there = rewritten(sender, 20_000);
            assert_eq!(there.domain(), &ours());
            assert_eq!(back(&key(), &there, 20_003), Ok(Back::To(parse(sender))), "{there}");
            let shouted = parse(&there.to_string().to_ascii_uppercase());
            assert!(matches!(back(&key(), &shouted, 20_003), Ok(Back::To(_))), "{shouted}");
        }
    }

    #[test]
    fn what_was_forwarded_before_goes_back_to_the_first_who_did() {
        let first = "SRS0=HHHH=TT=a.example=ann@first.example";
        let there = rewritten(first, 9);
        assert!(there.to_string().starts_with("SRS1=") && there.local_part().contains("=first.example==HHHH=TT=a.example=ann"), "{there}");
        assert_eq!(back(&key(), &there, 9), Ok(Back::To(parse(first))));
        // A third server in the row: it still leads to the first.
        let there = rewritten("SRS1=XXXX=first.example==HHHH=TT=a.example=ann@second.example", 9);
        assert_eq!(back(&key(), &there, 9), Ok(Back::To(parse(first))));
        // Whatever separator the first one uses.
        for first in ["SRS0+HHHH=TT=a.example=ann@first.example", "SRS0==@first.example"] {
            assert_eq!(back(&key(), &rewritten(first, 9), 9), Ok(Back::To(parse(first))));
        }
    }

    #[test]
    fn what_only_looks_like_forwarded_mail_has_a_token() {
        for sender in ["SRS1=aaaaaa==@x.example", "SRS1=a@x.example", "SRS1=a=b.example=c@x.example"] {
            let Some(Rewritten::Named { address, token }) = rewrite(&key(), &parse(sender), &ours(), 9) else { panic!("{sender}") };
            assert_eq!(back(&key(), &address, 9), Ok(Back::Named(token)));
        }
    }

    #[test]
    fn what_would_be_too_long_has_a_token() {
        let long = parse(&format!("{}@a.example", "b".repeat(60)));
        let Some(Rewritten::Named { address, token }) = rewrite(&key(), &long, &ours(), 9) else { panic!("{long}") };
        assert_eq!(token.len(), TOKEN_LETTERS);
        assert_eq!(back(&key(), &address, 9), Ok(Back::Named(token)));
    }

    #[test]
    fn only_what_was_made_here_and_lately_leads_back() {
        let there = rewritten("ann@a.example", 1000);
        for (today, want) in [(999, true), (1000, true), (1021, true), (1022, false), (1400, false), (998, false)] {
            let got = back(&key(), &there, today);
            assert_eq!(got.is_ok(), want, "{today} {got:?}");
        }
        let other = parse(&there.to_string().replace("=ann@", "=bob@"));
        for (address, want) in [
            (other.clone(), NoWayBack::Forged),
            (parse("SRS0=aaaaaa=aa=a.example=ann@ours.example"), NoWayBack::Forged),
            (parse("SRS0=x@ours.example"), NoWayBack::Forged),
            (parse("SRS1=x=y=z@ours.example"), NoWayBack::Forged),
            (parse("ann@ours.example"), NoWayBack::Other),
            (parse("srs@ours.example"), NoWayBack::Other),
        ] {
            assert_eq!(back(&key(), &address, 1000), Err(want), "{address}");
        }
        assert_eq!(back(&Key::new(&[8; 32]), &there, 1000), Err(NoWayBack::Forged));
    }

    proptest! {
        #[test]
        fn every_sender_finds_back_or_has_a_token(local in "[a-zA-Z0-9=+_-]{1,60}", day in 0..100_000_u32) {
            let sender = parse(&format!("{local}@a.example"));
            match rewrite(&key(), &sender, &ours(), day) {
                Some(Rewritten::Whole(there)) if !is_rewritten(&sender) => prop_assert_eq!(back(&key(), &there, day), Ok(Back::To(sender))),
                Some(Rewritten::Whole(there)) => prop_assert!(back(&key(), &there, day).is_ok()),
                Some(Rewritten::Named { address, token }) => prop_assert_eq!(back(&key(), &address, day), Ok(Back::Named(token))),
                None => prop_assert!(false),
            }
        }
    }
}
