//! A return path for each recipient: what other servers return long after they took a message, in whatever form, is
//! known by the address it comes to (VERP).
//!
//! ```text
//! news@ours.example, receipt 1m8008eyj0000, recipient 2  ─▶  news+b-1m8008eyj0000-c-kzq7ma3e@ours.example
//! ```
//!
//! The address is the sender's own with a detail (RFC 5233), so that it needs no setting up.
//!
//! Invariant: nothing but what was made with the key counts as a return path.

use super::{Key, address, letter, number};
use mail::{Address, ReceiptId};

/// Letters of a signature: 40 bits.
const SIGNATURE_LETTERS: usize = 8;
/// Letters of a place: 1,024 recipients.
const PLACES_MAX: usize = 1024;

const PURPOSE: &str = "verp";

/// What a return path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The message that was sent.
    pub receipt: ReceiptId,
    /// Which of its recipients.
    pub place: usize,
    /// The sender's own address.
    pub sender: Address,
}

/// The return path of one recipient; `None`: it would be too long, or there are too many recipients.
pub fn make(key: &Key, sender: &Address, receipt: ReceiptId, place: usize) -> Option<Address> {
    let number = u32::try_from(place).ok().filter(|_| place < PLACES_MAX)?;
    let place: String = [letter(number / 32), letter(number)].into_iter().collect();
    let receipt = receipt.to_string();
    let signature = key.sign(PURPOSE, &[&sender.key(), &receipt, &place], SIGNATURE_LETTERS);
    let separator = if sender.local_part().contains('+') { '-' } else { '+' };
    address(&format!("{}{separator}b-{receipt}-{place}-{signature}", sender.local_part()), sender.domain())
}

/// What an address says, if it is a return path of ours.
pub fn read(key: &Key, return_path: &Address) -> Option<Returned> {
    let mut parts = return_path.local_part().rsplitn(4, '-');
    let (signature, place, receipt, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let local_part = rest.strip_suffix(['b', 'B'])?.strip_suffix(['+', '-'])?;
    let sender = address(local_part, return_path.domain())?;
    if !key.verifies(signature, PURPOSE, &[&sender.key(), receipt, place], SIGNATURE_LETTERS) {
        return None;
    }
    let place = usize::try_from(number(place)?).ok()?;
    Some(Returned { receipt: receipt.to_ascii_lowercase().parse().ok()?, place, sender })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_paths_name_message_and_recipient_and_cannot_be_invented() {
        let (key, receipt) = (Key::new(&[7; 32]), ReceiptId(1_700_000_000_000 << 20));
        for (sender, place) in [("news@ours.example", 0), ("ann+list@ours.example", 700), ("a-b@ours.example", 1023)] {
            let sender = Address::parse(sender).unwrap();
            let there = make(&key, &sender, receipt, place).unwrap();
            let returned = Returned { receipt, place, sender: sender.clone() };
            assert_eq!(read(&key, &there), Some(returned.clone()), "{there}");
            assert!(there.without_detail().is_some(), "{there} reaches its sender by itself");
            let shouted = Address::parse(&there.to_string().to_ascii_uppercase()).unwrap();
            assert!(read(&key, &shouted).is_some_and(|read| read.place == place && read.receipt == receipt), "{shouted}");
            assert_eq!(read(&Key::new(&[8; 32]), &there), None);
            let other = there.to_string().replacen('0', "1", 1);
            assert_eq!(read(&key, &Address::parse(&other).unwrap()), None, "{other}");
        }
        let long = Address::parse(&format!("{}@ours.example", "a".repeat(40))).unwrap();
        assert_eq!(make(&key, &long, receipt, 0), None);
        assert_eq!(make(&key, &Address::parse("a@b").unwrap(), receipt, 1024), None);
        for other in ["ann@ours.example", "ann+b@ours.example", "ann+b-x-y-z@ours.example", "b-1-2-3@ours.example"] {
            assert_eq!(read(&key, &Address::parse(other).unwrap()), None, "{other}");
        }
    }
}
