//! What is done differently for a mail program that has said who it is (ID, RFC 2971).
//!
//! One table. Most deviations are made for everybody, where the program that needs them is named; only what
//! would take something from others stands here.

/// What is done differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// IMAP4rev2 is not offered.
    pub rev1_only: bool,
}

/// Starts of the name of an ID, in lower case, and what is done for those programs.
const TABLE: [(&str, Quirks); 5] = [
    // Deviation: Apple Mail shows an empty inbox where IMAP4rev2 is offered beside IMAP4rev1.
    ("com.apple.", REV1_ONLY),
    ("mac os x mail", REV1_ONLY),
    ("iphone mail", REV1_ONLY),
    ("ipad mail", REV1_ONLY),
    ("ios mail", REV1_ONLY),
];

const REV1_ONLY: Quirks = Quirks { rev1_only: true };

impl Quirks {
    /// Those of the program with this ID.
    pub fn of(id: &[(String, String)]) -> Self {
        let name = id.iter().find(|(field, _)| field.eq_ignore_ascii_case("name")).map(|(_, name)| name.to_ascii_lowercase());
        let found = name.and_then(|name| TABLE.iter().find(|(start, _)| name.starts_with(start)));
        found.map(|(_, quirks)| *quirks).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_names() {
        for (field, name, rev1_only) in [
            ("name", "com.apple.email.maild", true),
            ("NAME", "Mac OS X Mail", true),
            ("name", "iPhone Mail", true),
            ("name", "Thunderbird", false),
            ("vendor", "com.apple.email.maild", false),
            ("name", "", false),
        ] {
            assert_eq!(Quirks::of(&[(field.to_owned(), name.to_owned())]).rev1_only, rev1_only, "{field} {name}");
        }
        assert_eq!(Quirks::of(&[]), Quirks::default());
    }
}
