//! Words that are nearly the ones looked for: what SEARCH FUZZY takes for a match (RFC 6203).
//!
//! Case, accents and the order of words do not count; a word may go on where the wanted one ends, and a longer one
//! may have a letter or two wrong, missing, too many or swapped. All words must be found. Not a language's
//! grammar: it knows no stems.
//!
//! Invariant: the work is bounded by the length of the text times the wanted words, whatever either holds.

use unicode_normalization::char::is_combining_mark;

/// Most words of a text that is looked for; more are not looked at. Our own bound.
const WORDS_MAX: usize = 16;
/// Characters of the longest word that is compared: no word that people look for is longer. Our own bound.
const WORD_CHARS_MAX: usize = 32;
/// Characters from which on a word may have one letter wrong, and from which on two.
const ONE_WRONG_FROM: usize = 4;
const TWO_WRONG_FROM: usize = 9;
/// Characters from which on a word may be the start of a longer one.
const START_FROM: usize = 3;

/// The words of a text that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<Vec<char>>);

/// How well each word was found so far, in percent; 0: not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hits(Vec<u8>);

impl Words {
    /// Of a folded text; `None`: it has no words.
    pub fn of(text: &str) -> Option<Self> {
        let mut words = Vec::new();
        each_word(text, |word| {
            if words.len() < WORDS_MAX && !words.iter().any(|known: &Vec<char>| known == word) {
                words.push(word.to_vec());
            }
        });
        if words.is_empty() { None } else { Some(Self(words)) }
    }

    /// Nothing found yet.
    pub fn no_hits(&self) -> Hits {
        Hits(vec![0; self.0.len()])
    }

    /// Looks for the words in a folded text.
    pub fn look(&self, text: &str, hits: &mut Hits) {
        each_word(text, |word| {
            for (wanted, best) in self.0.iter().zip(&mut hits.0) {
                if *best < 100 {
                    *best = (*best).max(likeness(wanted, word));
                }
            }
        });
    }
}

impl Hits {
    /// Whether every word was found.
    pub fn are_all(&self) -> bool {
        self.0.iter().all(|best| *best > 0)
    }

    /// How well on the whole, in percent.
    pub fn quality(&self) -> u32 {
        let words = u32::try_from(self.0.len()).unwrap_or(1).max(1);
        self.0.iter().map(|best| u32::from(*best)).sum::<u32>() / words
    }
}

/// Calls `take` for each word, without accents; of a very long one for its start.
fn each_word(text: &str, mut take: impl FnMut(&[char])) {
    let mut word = Vec::with_capacity(WORD_CHARS_MAX);
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() {
            if word.len() < WORD_CHARS_MAX {
                word.push(c);
            }
        } else if !is_combining_mark(c) && !word.is_empty() {
            take(&word);
            word.clear();
        }
    }
}

/// How like a word is to the wanted one, in percent.
fn likeness(wanted: &[char], word: &[char]) -> u8 {
    if word == wanted {
        return 100;
    }
    if wanted.len() >= START_FROM && word.starts_with(wanted) {
        return 85;
    }
    let edits_max = match wanted.len() {
        0..ONE_WRONG_FROM => 0,
        ONE_WRONG_FROM..TWO_WRONG_FROM => 1,
        _ => 2,
    };
    if edits_max == 0 || wanted.len().abs_diff(word.len()) > edits_max {
        return 0;
    }
    match edits(wanted, word, edits_max) {
        Some(1) => 60,
        Some(2) => 40,
        _ => 0,
    }
}

/// Letters to change, add, leave out or swap with their neighbour to make one word of the other; `None`: more.
fn edits(a: &[char], b: &[char], max: usize) -> Option<usize> {
    const WIDTH: usize = WORD_CHARS_MAX + 1;
    let mut rows = [[0_usize; WIDTH]; 3];
    let [mut before, mut last, mut row] = rows.each_mut();
    for (at, cell) in last.iter_mut().enumerate() {
        *cell = at;
    }
    for (i, x) in a.iter().enumerate() {
        let mut left = i + 1;
        if let Some(cell) = row.first_mut() {
            *cell = left;
        }
        let mut fewest = left;
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize; WIDTH], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut cell = (at(last, j) + usize::from(x != y)).min(at(last, j + 1) + 1).min(left + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cell = cell.min(at(before, j - 1) + 1);
            }
            if let Some(slot) = row.get_mut(j + 1) {
                *slot = cell;
            }
            left = cell;
            fewest = fewest.min(cell);
        }
        if fewest > max {
            return None;
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last.get(b.len()).copied().filter(|edits| *edits <= max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::casemap::fold;
    use proptest::prelude::*;

    fn found(wanted: &str, text: &str) -> u32 {
        let words = Words::of(&fold(wanted)).unwrap();
        let mut hits = words.no_hits();
        words.look(&fold(text), &mut hits);
        if hits.are_all() { hits.quality() } else { 0 }
    }

    #[test]
    fn words_are_found_that_are_nearly_right() {
        for (wanted, text, want) in [
            ("Helo", "hello world", 60),
            ("Helo", "please help", 60),
            ("Helo", "held, heloise", 85),
            ("hello", "Hello!", 100),
            ("cafe", "Caf\u{e9} au lait", 100),
            ("caf\u{e9}", "cafe", 100),
            ("imap break", "the break of IMAP", 100),
            ("imap break", "breaking imap", 92),
            ("imap break", "imap", 0),
            ("recieve", "receive", 60),
            ("accomodation", "accommodation", 60),
            ("definately", "definitely", 60),
            ("entscheidung", "entschiedung", 60),
            ("rythmical", "rhythmicall", 40),
            ("ann", "anne", 85),
            ("ann", "any", 0),
            ("an", "ann", 0),
            ("bob", "blob", 0),
            ("house", "mouse horse", 60),
            ("house", "houses", 85),
            ("horse", "house morse", 60),
            ("word", "wxyd", 0),
            ("\u{65e5}\u{672c}\u{8a9e}", "\u{65e5}\u{672c}\u{8a9e}\u{306e}", 85),
        ] {
            assert_eq!(found(wanted, text), want, "{wanted} in {text}");
        }
    }

    #[test]
    fn what_has_no_words_or_very_long_ones() {
        assert_eq!(Words::of("\u{2026} -- !"), None);
        let long = "x".repeat(1_000_000);
        assert_eq!(found(&long, &long), 100);
        assert_eq!(Words::of(&(0..99).map(|n| format!("w{n} ")).collect::<Vec<_>>().concat()).unwrap().0.len(), WORDS_MAX);
    }

    proptest! {
        #[test]
        fn every_word_is_found_in_its_own_text(text in "\\PC{0,60}") {
            if let Some(words) = Words::of(&fold(&text)) {
                let mut hits = words.no_hits();
                words.look(&fold(&text), &mut hits);
                prop_assert!(hits.are_all() && hits.quality() == 100);
            }
        }

        #[test]
        fn edits_count_both_ways(a in "[ab]{0,8}", b in "[ab]{0,8}") {
            let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(edits(&a, &b, 2), edits(&b, &a, 2));
            prop_assert_eq!(edits(&a, &b, 2) == Some(0), a == b);
        }
    }
}
