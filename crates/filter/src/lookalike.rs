//! Names that look like another: `exаmple.org` with a Cyrillic letter, `examp1e.org`, `exarnple.org`.
//!
//! Two names are compared by their skeleton (the idea of Unicode TR 39; the table here has the letters
//! that stand in for Latin ones in practice, not all of Unicode).
//!
//! Invariant: a name is not a look-alike of itself, nor of what stands under it.

use mail::Domain;
use unicode_normalization::UnicodeNormalization;

/// Letters that look like the Latin one before them.
const LOOKS: [(char, &str); 24] = [
    ('a', "аαɑ@4"),
    ('b', "ЬьƄ"),
    ('c', "сϲ"),
    ('d', "ԁ"),
    ('e', "еєҽ3"),
    ('g', "ɡ"),
    ('h', "һ"),
    ('i', "іıιӏl1!|"),
    ('j', "јϳ"),
    ('k', "кκ"),
    ('m', "м"),
    ('n', "ոпη"),
    ('o', "оοσօ0"),
    ('p', "рρ"),
    ('q', "ԛ"),
    ('r', "гᴦ"),
    ('s', "ѕ5$"),
    ('t', "тτ"),
    ('u', "υսц"),
    ('v', "ѵν"),
    ('w', "ԝшω"),
    ('x', "хχ"),
    ('y', "уүγ"),
    ('z', "ᴢ2"),
];

/// What a domain looks like: names with the same skeleton look alike.
#[must_use]
pub fn skeleton(domain: &str) -> String {
    let shown = Domain::parse(domain).map_or_else(|_| domain.to_owned(), |domain| domain.to_unicode());
    let plain = shown.to_lowercase().nfkd().filter(|c| !is_mark(*c) && *c != '-').map(latin).collect::<String>();
    plain.replace("rn", "m").replace("vv", "w")
}

fn latin(c: char) -> char {
    LOOKS.iter().find(|(_, others)| others.contains(c)).map_or(c, |(latin, _)| *latin)
}

const fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}')
}

/// Whether `domain` only looks like `known`.
#[must_use]
pub fn is_lookalike(domain: &str, known: &str) -> bool {
    let (domain, known) = (domain.to_ascii_lowercase(), known.to_ascii_lowercase());
    let under = domain.strip_suffix(&known).is_some_and(|rest| rest.ends_with('.'));
    domain != known && !under && skeleton(&domain) == skeleton(&known)
}

/// Whether a label mixes Latin letters with those of another script that look like them.
#[must_use]
pub fn is_mixed(domain: &str) -> bool {
    let shown = Domain::parse(domain).map_or_else(|_| domain.to_owned(), |domain| domain.to_unicode());
    shown.split('.').any(|label| {
        let strange = |c: char| !c.is_ascii() && latin(c) != c;
        label.chars().any(strange) && label.chars().any(|c| c.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookalikes_are_found_and_honest_names_are_not() {
        let check = |domain: &str, known: &str, want: bool| assert_eq!(is_lookalike(domain, known), want, "{domain} {known}");
        check("example.org", "example.org", false);
        check("EXAMPLE.org", "example.org", false);
        check("mail.example.org", "example.org", false);
        check("examp1e.org", "example.org", true);
        check("exarnple.org", "example.org", true);
        check("ex-ample.org", "example.org", true);
        check("exаmple.org", "example.org", true);
        check("xn--exmple-4nf.org", "example.org", true);
        check("example.com", "example.org", false);
        check("sample.org", "example.org", false);
        check("éxample.org", "example.org", true);
    }

    #[test]
    fn scripts_are_mixed_only_by_those_who_hide() {
        for (domain, want) in [("bücher.example", false), ("пример.example", false), ("pаypal.com", true), ("a.example", false)] {
            assert_eq!(is_mixed(domain), want, "{domain}");
        }
    }
}
