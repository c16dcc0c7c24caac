//! The full-text index of one message: which three-octet pieces ("grams") its texts hold, as bits.
//!
//! A text that holds another holds every gram of it. So a gram whose bit is not set tells that a message need
//! not be read; bits that are all set tell nothing, and the message is read. It only narrows: what it lets
//! through is compared octet by octet.
//!
//! Not an index over messages: each message has its own, so that a commit costs one small value and what is
//! copied, moved or removed takes its index along.
//!
//! Invariants
//! - No false negative: bits are made from the texts of `search`, from which SEARCH decides too.
//! - Bounded by the limits below, whatever a message holds; beyond them it is unknown, and may hold anything.

use crate::digest::{AddressItem, Digest};
use crate::{header, search, text};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Octets of header and text parts, encoded, up to which a message is indexed. Our own bound: a longer one is
/// always read.
pub const TEXTS_OCTETS_MAX: u64 = 256 * 1024;
/// Octets of the fields that [`Heads`] knows, up to which they are indexed. Our own bound: more sets every bit.
pub const HEADS_OCTETS_MAX: usize = 8 * 1024;
/// Most grams of a needle that are looked at: more would tell nothing new.
const NEEDLE_GRAMS_MAX: usize = 48;

/// Octets of [`Heads`].
const HEADS_OCTETS: usize = 64;
/// Words of the bits before they are folded: 65,536 bits.
const WORDS: usize = 1024;

/// What SEARCH needs to know of a message to pass it over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grams {
    /// Of the fields with SEARCH keys of their own.
    pub heads: Heads,
    /// Of everything that SEARCH TEXT looks at.
    pub texts: Texts,
}

/// The grams of subject and addresses: 512 bits, about a fifth of them set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Heads([u8; HEADS_OCTETS]);

/// The grams of a message's header and text parts: a power of two of bits, a third of them set at most.
/// Without any bits: unknown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Texts(Box<[u8]>);

/// The grams of a text that is looked for; none: it is too short to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pattern(Box<[u16]>);

impl Default for Heads {
    fn default() -> Self {
        Self([u8::MAX; HEADS_OCTETS])
    }
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heads({} of {} bits)", self.0.iter().map(|octet| octet.count_ones()).sum::<u32>(), HEADS_OCTETS * 8)
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({} octets)", self.0.len())
    }
}

impl Serialize for Heads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Heads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl de::Visitor<'_> for Octets {
            type Value = Heads;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{HEADS_OCTETS} octets")
            }
            fn visit_bytes<E: de::Error>(self, octets: &[u8]) -> Result<Heads, E> {
                octets.try_into().map(Heads).map_err(|_| E::invalid_length(octets.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

impl Grams {
    /// Of a message and its digest.
    pub fn of(message: &[u8], digest: &Digest) -> Self {
        Self { heads: Heads::of(message, digest), texts: Texts::of(message, digest) }
    }
}

impl Heads {
    fn of(message: &[u8], digest: &Digest) -> Self {
        let block = slice(message, &(0..digest.body.body_start));
        let known = |field: &header::Field<'_>| search::HEAD_FIELDS.iter().any(|name| field.is(name));
        let octets: usize = header::fields(block).filter(known).map(|field| field.value.len()).sum();
        if octets > HEADS_OCTETS_MAX {
            return Self::default();
        }
        let mut heads = Self([0; HEADS_OCTETS]);
        heads.add(&search::subject(digest));
        for address in address_lists(digest).into_iter().flatten() {
            heads.add(&search::address(address));
        }
        header::fields(block).filter(known).for_each(|field| heads.add(&search::field(field.value)));
        heads
    }

    fn add(&mut self, text: &str) {
        for gram in grams(text.as_bytes()) {
            if let Some(octet) = self.0.get_mut(usize::from(gram) / 8 % HEADS_OCTETS) {
                *octet |= 1 << (gram % 8);
            }
        }
    }

    /// False: none of the fields that it knows holds the text.
    pub fn may_hold(&self, pattern: &Pattern) -> bool {
        pattern.0.iter().all(|gram| has(&self.0, *gram))
    }
}

fn address_lists(digest: &Digest) -> [&[AddressItem]; 4] {
    let envelope = &digest.envelope;
    [&envelope.from, &envelope.to, &envelope.cc, &envelope.bcc]
}

thread_local! {
    static BITS: RefCell<Vec<u64>> = RefCell::new(vec![0; WORDS]);
}

impl Texts {
    fn of(message: &[u8], digest: &Digest) -> Self {
        let (parts, nested) = (text::parts(&digest.body), search::nested_headers(&digest.body));
        let length = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let octets = digest.body.body_start
            + parts.iter().map(|part| length(&part.contents())).sum::<u64>()
            + nested.iter().map(length).sum::<u64>();
        if octets > TEXTS_OCTETS_MAX {
            return Self::default();
        }
        BITS.with_borrow_mut(|bits| {
            bits.fill(0);
            set(bits, &search::header(slice(message, &(0..digest.body.body_start))));
            for part in parts {
                set(bits, &search::part(part, slice(message, &part.contents())));
            }
            for range in nested {
                set(bits, &search::header(slice(message, &range)));
            }
            Self::folded(bits)
        })
    }

    /// Halves the bits as long as not more than a third of them are set.
    fn folded(bits: &mut [u64]) -> Self {
        let mut words = WORDS;
        let ones = |bits: &[u64]| bits.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        let mut set = ones(bits);
        if set * 2 > WORDS * 64 {
            return Self::default();
        }
        while words > 1 && set * 3 <= words * 32 {
            words /= 2;
            let (low, high) = bits.split_at_mut(words);
            low.iter_mut().zip(high.iter()).for_each(|(low, high)| *low |= high);
            set = ones(low);
        }
        Self(bits.iter().take(words).flat_map(|word| word.to_le_bytes()).collect())
    }

    /// The bits as they are stored; none: unknown.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// False: neither header nor text parts of the message with these bits hold the text. Bits of a length
    /// that is never written are unknown.
    pub fn may_hold(bits: &[u8], pattern: &Pattern) -> bool {
        !is_known(bits) || pattern.0.iter().all(|gram| has(bits, *gram))
    }
}

fn is_known(bits: &[u8]) -> bool {
    bits.len().is_power_of_two() && (8..=WORDS * 8).contains(&bits.len())
}

impl Pattern {
    /// Of a folded text.
    pub fn of(text: &str) -> Self {
        Self(grams(text.as_bytes()).take(NEEDLE_GRAMS_MAX).collect())
    }

    /// Whether it can tell anything.
    pub fn is_telling(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Whether the bit of a gram is set in bits whose number is a power of two.
fn has(bits: &[u8], gram: u16) -> bool {
    let at = (usize::from(gram) / 8) & bits.len().wrapping_sub(1);
    bits.get(at).is_none_or(|octet| octet >> (gram % 8) & 1 == 1)
}

fn set(bits: &mut [u64], text: &str) {
    for gram in grams(text.as_bytes()) {
        if let Some(word) = bits.get_mut(usize::from(gram) / 64) {
            *word |= 1 << (gram % 64);
        }
    }
}

/// The number of each gram of a text: a multiplicative hash of its three octets.
fn grams(text: &[u8]) -> impl Iterator<Item = u16> + '_ {
    text.array_windows().map(|[a, b, c]| {
        let gram = u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c);
        (gram.wrapping_mul(0x9E37_79B1) >> 16) as u16
    })
}

fn slice<'a>(message: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    bounds.and_then(|(start, end)| message.get(start..end.min(message.len()))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::casemap::fold;
    use proptest::prelude::*;

    fn of(message: &str) -> Grams {
        Digest::of(message.as_bytes()).grams
    }

    #[test]
    fn what_a_message_holds_it_may_hold() {
        let message = "Subject: =?utf-8?Q?Caf=C3=A9_au_lait?=\r\nFrom: Ann Smith (work) <ann@example.org>\r\nX-Odd: Zebra\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\nbmHvdmUgcGVvcGxl\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\nwithin\r\n--b--\r\n";
        let grams = of(message);
        let check = |text: &str, head, whole| {
            let pattern = Pattern::of(&fold(text));
            let found = (grams.heads.may_hold(&pattern), Texts::may_hold(grams.texts.octets(), &pattern));
            assert_eq!(found, (head, whole), "{text}");
        };
        for text in ["café au", "Ann Smith", "ann@example.org", "(WORK)"] {
            check(text, true, true);
        }
        check("ann smith <ann@example.org>", true, true);
        for text in ["naïve people", "subject: inner", "within", "zebra", "x-odd: z"] {
            check(text, false, true);
        }
        for text in ["giraffe", "bmHvdmU", "multipart"] {
            check(text, false, text == "multipart");
        }
        for text in ["", "a", "qq"] {
            check(text, true, true);
        }
    }

    #[test]
    fn beyond_the_limits_anything_may_be_held() {
        let octets = usize::try_from(TEXTS_OCTETS_MAX).unwrap();
        let absent = Pattern::of("ABSENT");
        let large = of(&format!("Subject: x\r\n\r\n{}", "word ".repeat(octets / 5)));
        assert!(large.texts.octets().is_empty() && Texts::may_hold(large.texts.octets(), &absent));
        assert!(!large.heads.may_hold(&absent));
        assert!(of(&format!("Subject: {}\r\n\r\n", "x".repeat(HEADS_OCTETS_MAX))).heads.may_hold(&absent));
        let attached = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello there\r\n--b\r\nContent-Type: image/png\r\n\r\n{}\r\n--b--",
            "x".repeat(octets)
        );
        assert!(!Texts::may_hold(of(&attached).texts.octets(), &absent), "what is no text does not count");
        for odd in [&[][..], &[0; 4], &[0; 24], &[0; 16384]] {
            assert!(Texts::may_hold(odd, &absent), "{}", odd.len());
        }
    }

    #[test]
    fn bits_are_as_many_as_the_grams_need() {
        let sizes = [10, 100, 1000, 10_000].map(|words| {
            let text: Vec<_> = (0..words).map(|n: u32| format!("{:x}", n.wrapping_mul(0x9E37_79B1))).collect();
            of(&format!("\r\n{}", text.join(" "))).texts.octets().len()
        });
        assert!(sizes.is_sorted() && sizes[0] <= 64 && sizes[2] <= 4096 && sizes[3] <= 8192, "{sizes:?}");
    }

    proptest! {
        #[test]
        fn there_is_no_false_negative(subject in "\\PC{0,30}", body in "\\PC{0,200}", at in 0..200usize, len in 0..20usize, head: bool) {
            let message = format!("Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}");
            let digest = Digest::of(message.as_bytes());
            let parts = text::parts(&digest.body);
            let held = if head { search::subject(&digest) } else { search::part(parts[0], slice(message.as_bytes(), &parts[0].contents())) };
            let needle: String = held.chars().skip(at % (held.chars().count() + 1)).take(len).collect();
            let pattern = Pattern::of(&needle);
            let grams = &digest.grams;
            let may = if head { grams.heads.may_hold(&pattern) } else { Texts::may_hold(grams.texts.octets(), &pattern) };
            prop_assert!(may);
        }

        #[test]
        fn any_octets_have_grams(octets: Vec<u8>) {
            let _ = Digest::of(&octets).grams;
        }
    }
}
