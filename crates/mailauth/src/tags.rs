//! Lists of `name=value` with semicolons between: signatures, key records, DMARC policies
//! (RFC 6376 §3.2).
//!
//! Invariant: no name stands twice.

/// A list of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tags<'a>(Vec<(&'a str, &'a str)>);

/// Most tags of one list. Our own bound.
const TAGS_MAX: usize = 100;

impl<'a> Tags<'a> {
    /// Reads a list; white space around names and values goes. `None` if it breaks the grammar or names a
    /// tag twice.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for spec in text.strip_suffix(';').unwrap_or(text).split(';') {
            let (name, value) = spec.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            if !is_name(name) || tags.iter().any(|(known, _)| *known == name) || tags.len() == TAGS_MAX {
                return None;
            }
            tags.push((name, value));
        }
        Some(Self(tags))
    }

    /// The value of a tag.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The first tag.
    pub(crate) fn first(&self) -> Option<(&'a str, &'a str)> {
        self.0.first().copied()
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A value's base64 without its white space; `None` if it is none.
pub(crate) fn base64(value: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let packed: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    engine.decode(packed).ok()
}

/// The items of a value with colons between them, white space around each gone.
pub(crate) fn colons(value: &str) -> impl Iterator<Item = &str> {
    value.split(':').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_strictly() {
        for (input, want) in [
            ("v=1; a = x ;", Some("x")),
            ("a=", Some("")),
            ("a=b=c", Some("b=c")),
            ("a=1; a=2", None),
            ("a=1;; b=2", None),
            ("", None),
            ("a", None),
            ("1a=2", None),
        ] {
            assert_eq!(Tags::parse(input).and_then(|tags| tags.value("a")), want, "{input}");
        }
        assert_eq!(base64(" aG\r\n k "), Some(b"hi".to_vec()));
        assert_eq!(base64("a!"), None);
    }
}
