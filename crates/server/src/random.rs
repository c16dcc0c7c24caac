//! Random octets from the kernel. The pure crates take theirs as parameters: this is where they
//! come from.

use crate::failure::{Failure, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// `N` random octets.
///
/// # Errors
/// When the kernel gives none.
pub fn octets<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty()).map_err(|error| Failure::failed("no random octets", error))?;
    }
    Ok(octets)
}

/// 32 hexadecimal digits: a SASL nonce.
///
/// # Errors
/// When the kernel gives no random octets.
pub fn nonce() -> Result<String> {
    Ok(hex(&octets::<16>()?))
}

/// Octets as lower-case hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    digits.filter_map(|digit| DIGITS.get(usize::from(digit)).copied()).map(char::from).collect()
}
