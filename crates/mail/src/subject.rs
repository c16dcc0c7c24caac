//! The subject by which messages belong together: without `Re:`, `Fwd:`, list tags and their like
//! (RFC 5256 §2.1).

/// A subject without what replies and forwards put around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSubject {
    /// What is left; case as written.
    pub base: String,
    /// Whether something was taken away that marks a reply or a forward.
    pub is_reply_or_forward: bool,
}

/// Octets of a subject that are looked at. Our own bound: the rules are quadratic in hostile ones.
pub const OCTETS_MAX: usize = 2048;

/// The base of a decoded subject. The numbers are the RFC's steps.
pub fn base(subject: &str) -> BaseSubject {
    let subject = subject.get(..subject.floor_char_boundary(OCTETS_MAX)).unwrap_or_default();
    // (1)
    let text = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut text, mut marked) = (text.as_str(), false);
    loop {
        // (2)
        while let Some(rest) = strip_suffix(text, "(fwd)") {
            (text, marked) = (rest.trim_end(), true);
        }
        // (3), (4), (5)
        loop {
            if let Some(rest) = leader(text) {
                (text, marked) = (rest, true);
            } else if let Some(rest) = blob(text).filter(|rest| !rest.is_empty()) {
                text = rest;
            } else {
                break;
            }
        }
        // (6)
        let Some(inner) = strip_prefix(text, "[fwd:").and_then(|inner| inner.strip_suffix(']')) else { break };
        (text, marked) = (inner.trim(), true);
    }
    BaseSubject { base: text.to_owned(), is_reply_or_forward: marked }
}

/// `[tag] Re [tag]: ` in front; what is behind it.
fn leader(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(after) = blob(rest) {
        rest = after;
    }
    let after = ["re", "fwd", "fw"].iter().find_map(|mark| strip_prefix(rest, mark))?.trim_start();
    let after = blob(after).unwrap_or(after);
    Some(after.strip_prefix(':')?.trim_start())
}

/// `[tag] ` in front; what is behind it.
fn blob(text: &str) -> Option<&str> {
    let (tag, rest) = text.strip_prefix('[')?.split_once(']')?;
    (!tag.contains('[')).then_some(rest.trim_start())
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_reduced() {
        for (input, want, marked) in [
            ("Hello", "Hello", false),
            ("  Hello \t  world ", "Hello world", false),
            ("Re: Hello", "Hello", true),
            ("RE: re:Fwd : FW:Hello (fwd) (FWD)", "Hello", true),
            ("[list] Re: [list] Hello", "Hello", true),
            ("[list] Hello", "Hello", false),
            ("Re [2]: Hello", "Hello", true),
            ("[Fwd: Re: Hello]", "Hello", true),
            ("[fwd: [Fwd: x] (fwd)]", "x", true),
            ("[tag]", "[tag]", false),
            ("[a [b] c", "[a [b] c", false),
            ("Re:", "", true),
            ("(fwd)", "", true),
            ("", "", false),
            ("Regards", "Regards", false),
            ("é", "é", false),
        ] {
            assert_eq!(base(input), BaseSubject { base: want.to_owned(), is_reply_or_forward: marked }, "{input}");
        }
    }

    #[test]
    fn hostile_subjects_are_cut() {
        for piece in ["[a]", "re:", "[fwd:", "(fwd)", "é["] {
            assert!(base(&piece.repeat(100_000)).base.len() <= OCTETS_MAX);
        }
    }
}
