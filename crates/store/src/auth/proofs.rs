//! What was proved a moment ago, so that a client that reconnects does not pay for argon2 again.
//!
//! An entry says: these credentials were shown the right password by this address. It holds a keyed
//! hash (BLAKE3, 32 octets) of account, credentials' version, address and password, under a random
//! key of this process; no password.
//!
//! Whoever reads the memory of the process gets the key with the entries and can then try guesses at
//! the speed of BLAKE3 instead of argon2's, against the passwords used in the last
//! [`Limits::proof_lifetime`](super::Limits): that is the price. A weak password in such a dump must be
//! considered lost; so must any password that is in the memory of a session at that moment. A dump
//! taken later, and the files of the store, show nothing of it.
//!
//! Invariant: new credentials have a new version, so that no entry outlives a change of password.

use mail::AccountId;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Whose proof it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) account: AccountId,
    pub(super) version: u64,
    pub(super) peer: IpAddr,
}

/// The proofs of this process.
pub(super) struct Proofs {
    key: Zeroizing<[u8; 32]>,
    entries: HashMap<Who, Entry>,
    /// In the order in which they end.
    order: VecDeque<(Instant, Who)>,
    lifetime: Duration,
    entries_max: usize,
}

struct Entry {
    proof: [u8; 32],
    ends: Instant,
}

impl Proofs {
    pub(super) fn new(key: [u8; 32], lifetime: Duration, entries_max: usize) -> Self {
        Self { key: Zeroizing::new(key), entries: HashMap::new(), order: VecDeque::new(), lifetime, entries_max }
    }

    /// Whether this password was proved lately.
    pub(super) fn knows(&self, who: &Who, password: &str, now: Instant) -> bool {
        let Some(entry) = self.entries.get(who).filter(|entry| now < entry.ends) else { return false };
        self.proof(who, password).ct_eq(&entry.proof).into()
    }

    /// Remembers a proved password. The oldest entries make room.
    pub(super) fn learn(&mut self, who: Who, password: &str, now: Instant) {
        self.forget(now);
        if self.entries_max == 0 || self.lifetime.is_zero() {
            return;
        }
        let entry = Entry { proof: self.proof(&who, password), ends: now + self.lifetime };
        self.order.push_back((entry.ends, who));
        self.entries.insert(who, entry);
        while self.order.len() > self.entries_max {
            self.forget_first();
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(ends, _)| *ends <= now) {
            self.forget_first();
        }
    }

    /// A who that was learned again later keeps that entry.
    fn forget_first(&mut self) {
        let Some((ends, who)) = self.order.pop_front() else { return };
        if self.entries.get(&who).is_some_and(|entry| entry.ends <= ends) {
            self.entries.remove(&who);
        }
    }

    fn proof(&self, who: &Who, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&who.account.0.to_be_bytes());
        hasher.update(&who.version.to_be_bytes());
        let peer = match who.peer {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        hasher.update(&peer.octets());
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(account: u32, version: u64, last: u8) -> Who {
        Who { account: AccountId(account), version, peer: IpAddr::from([192, 0, 2, last]) }
    }

    #[test]
    fn a_proof_is_for_one_account_version_address_and_a_while() {
        let (start, minute) = (Instant::now(), Duration::from_mins(1));
        let mut proofs = Proofs::new([7; 32], 10 * minute, 100);
        proofs.learn(who(1, 1, 1), "secret", start);
        for (who, password, later, want) in [
            (who(1, 1, 1), "secret", 0, true),
            (who(1, 1, 1), "secret", 9, true),
            (who(1, 1, 1), "secret", 10, false),
            (who(1, 1, 1), "Secret", 0, false),
            (who(2, 1, 1), "secret", 0, false),
            (who(1, 2, 1), "secret", 0, false),
            (who(1, 1, 2), "secret", 0, false),
        ] {
            assert_eq!(proofs.knows(&who, password, start + later * minute), want, "{who:?} {password} {later}");
        }
    }

    #[test]
    fn old_entries_make_room() {
        let start = Instant::now();
        let mut proofs = Proofs::new([7; 32], Duration::from_mins(1), 2);
        proofs.learn(who(1, 1, 1), "a", start);
        proofs.learn(who(1, 1, 1), "a", start + Duration::from_secs(1));
        proofs.learn(who(2, 1, 1), "b", start + Duration::from_secs(2));
        assert!(proofs.knows(&who(1, 1, 1), "a", start + Duration::from_secs(3)));
        proofs.learn(who(3, 1, 1), "c", start + Duration::from_secs(3));
        assert!(!proofs.knows(&who(1, 1, 1), "a", start + Duration::from_secs(3)));
        proofs.learn(who(4, 1, 1), "d", start + Duration::from_secs(90));
        assert_eq!((proofs.entries.len(), proofs.order.len()), (1, 1));
    }
}
