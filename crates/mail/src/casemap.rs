//! Texts in the form in which the collation `i;unicode-casemap` compares them (RFC 5051 §2): title case,
//! then decomposed.
//!
//! Not for showing. Not a language's order either: it knows none.
//!
//! Invariant: folding what is folded changes nothing that compares.

use unicode_normalization::char::decompose_compatible;

/// The text as it is compared: two texts are equal, or one holds the other, if their folded forms are or do.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c.to_ascii_uppercase());
        } else {
            decompose_compatible(title_case(c), |part| out.push(part));
        }
    }
    out
}

/// The simple title case of Unicode's table, which is upper case but for a few.
fn title_case(c: char) -> char {
    let at = |number: u32| char::from_u32(number).unwrap_or(c);
    match u32::from(c) {
        // Digraphs, whose title case has but its first letter large.
        0x01C4..=0x01C6 => at(0x01C5),
        0x01C7..=0x01C9 => at(0x01C8),
        0x01CA..=0x01CC => at(0x01CB),
        0x01F1..=0x01F3 => at(0x01F2),
        // Georgian has capitals, but no title case.
        0x10D0..=0x10FF => c,
        // Greek with an iota below, which becomes a letter of its own in full upper case.
        number @ (0x1F80..=0x1F87 | 0x1F90..=0x1F97 | 0x1FA0..=0x1FA7) => at(number + 8),
        number @ (0x1FB3 | 0x1FC3 | 0x1FF3) => at(number + 9),
        _ => {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cases_and_forms_are_one() {
        for (left, right) in [
            ("Hello", "hELLO"),
            ("\u{e9}", "e\u{301}"),
            ("\u{c9}", "e\u{301}"),
            ("\u{fb01}n", "\u{fb01}N"),
            ("\u{1c6}", "\u{1c4}"),
            ("\u{3c2}", "\u{3a3}"),
            ("\u{1f80}", "\u{1f88}"),
            ("\u{ff21}", "a"),
            ("\u{2460}", "1"),
            ("\u{f6}", "\u{d6}"),
        ] {
            assert_eq!(fold(left), fold(right), "{left} {right}");
        }
        assert_ne!(fold("stra\u{df}e"), fold("strasse"));
        assert_ne!(fold("\u{10d0}"), fold("\u{1c90}"));
        assert!(fold("Caf\u{e9}").starts_with(&fold("cafe")));
    }

    proptest! {
        #[test]
        fn ascii_is_folded_alike_among_others(text in "[ -~]{0,20}") {
            let among = fold(&format!("{text}\u{e9}"));
            prop_assert!(among.starts_with(&fold(&text)));
        }

        #[test]
        fn any_text_is_folded(text in any::<String>()) {
            let _ = fold(&text);
        }
    }
}
