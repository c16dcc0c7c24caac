//! Entries for the fuzzer: hostile octets to each protocol; they must neither panic nor grow without bound.

use crate::{imap, pop3};

/// Both protocols, by the first octet.
pub fn fuzz(data: &[u8]) {
    match data.split_first() {
        Some((kind, data)) if kind % 4 == 0 => pop3::fuzz::session(data),
        Some((_, data)) => imap::fuzz::fuzz(data),
        None => {}
    }
}
