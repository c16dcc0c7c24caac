//! What a message looks like: its words, its sender, its links, its parts, the shape of its header.
//!
//! Each feature is a short text such as `subject:invoice`, so that a person can be told what spoke for
//! or against a message; the store knows it by its [`bucket`] alone.
//!
//! Invariants
//! - Fields that servers on the way add (ours among them) are no features: what is judged before a
//!   message is stored and what is taught of it afterwards are the same.
//! - At most [`Limits::features_max`] features of at most [`Limits::feature_chars_max`] characters.

use crate::links::{self, Link};
use crate::wording;
use mail::digest::{AddressItem, BodyPart, Digest, Inside};
use mail::{header, text, words};
use std::collections::BTreeSet;

/// What one message may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the message that are looked at. Default 1 MiB; what spam has to say stands at its start.
    pub message_octets_max: usize,
    /// Octets of text of one part, encoded, that are looked at. Default 64 KiB.
    pub part_octets_max: usize,
    /// Text parts that are looked at. Default 8.
    pub parts_max: usize,
    /// Features kept, the first ones. Default 600.
    pub features_max: usize,
    /// Longest feature, characters. Default 48.
    pub feature_chars_max: usize,
    /// Links looked at. Default 100.
    pub links_max: usize,
    /// Header fields looked at. Default 200.
    pub fields_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_octets_max: 1 << 20,
            part_octets_max: 64 << 10,
            parts_max: 8,
            features_max: 600,
            feature_chars_max: 48,
            links_max: 100,
            fields_max: 200,
        }
    }
}

/// Everything that rules and classifier know of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// For the classifier: each once, in the order in which they were met.
    pub list: Vec<String>,
    /// The first author's address, in lower case.
    pub author: Option<String>,
    /// The first author's domain, in lower case.
    pub author_domain: Option<String>,
    /// The first author's name, decoded.
    pub author_name: String,
    /// The domain of the first `Reply-To` address, in lower case.
    pub reply_domain: Option<String>,
    /// The subject, decoded.
    pub subject: String,
    /// Names of the files that come with it, decoded.
    pub files: Vec<String>,
    /// Links of its HTML and its text.
    pub links: Vec<Link>,
    /// Which of `date`, `from`, `message-id` it has none of.
    pub missing: Vec<&'static str>,
    /// It has HTML and no plain text.
    pub is_html_only: bool,
    /// Letters and digits of its text, as people see it; counted up to the limits.
    pub text_chars: usize,
    /// Pictures in its HTML.
    pub images: usize,
    /// Its HTML has text that is made not to be seen.
    pub has_hidden_text: bool,
    /// How often it has one of the phrases of advance-fee letters, each counted once.
    pub fee_phrases: usize,
    /// Which messages it says it answers, the latest last; ids without brackets.
    pub answers: Vec<String>,
    /// Phrases that unwanted mail is full of, by subject, in the order of the rules.
    pub wording: Vec<Vec<&'static str>>,
    /// Peculiarities of its header and text, by the names of rules.
    pub style: BTreeSet<&'static str>,
}

/// Where a feature is counted: 32 bits of FNV-1a, which everybody can compute again.
#[must_use]
pub fn bucket(feature: &str) -> u32 {
    let hash = feature.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
    let folded = hash ^ (hash >> 32);
    u32::try_from(folded & 0xffff_ffff).unwrap_or_default()
}

/// Phrases of letters that promise money for a fee.
const FEE_PHRASES: [&str; 16] = [
    "next of kin",
    "beneficiary",
    "transfer of funds",
    "transfer the fund",
    "million dollars",
    "million us dollars",
    "million united states",
    "strictly confidential",
    "utmost confidence",
    "foreign partner",
    "deceased",
    "your bank account",
    "security company",
    "inheritance",
    "business proposal",
    "lottery",
];

/// Fields that servers on the way add, or that say nothing.
const TRANSPORT: [&str; 14] = [
    "return-path",
    "received",
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "authentication-results",
    "received-spf",
    "dkim-signature",
    "arc-seal",
    "arc-message-signature",
    "arc-authentication-results",
    "x-postrider-verdict",
    "status",
    "x-status",
];

impl Features {
    /// Reads a message, or its start.
    #[must_use]
    pub fn of(message: &[u8], digest: &Digest, limits: &Limits) -> Self {
        let message = message.get(..limits.message_octets_max).unwrap_or(message);
        let answers = digest.references.clone();
        let mut reading =
            Reading { features: Self { answers, ..Self::default() }, seen: BTreeSet::new(), limits, html: false, plain: false };
        reading.people(digest);
        reading.subject(digest);
        reading.fields(message);
        reading.files(&digest.body, 0);
        for part in text::parts(&digest.body).into_iter().take(limits.parts_max) {
            reading.text(message, part);
        }
        reading.links();
        reading.style(message, digest);
        reading.features.is_html_only = reading.html && !reading.plain;
        reading.shape();
        reading.features
    }

    /// Where each feature is counted.
    #[must_use]
    pub fn buckets(&self) -> Vec<u32> {
        self.list.iter().map(|feature| bucket(feature)).collect()
    }
}

struct Reading<'a> {
    features: Features,
    seen: BTreeSet<String>,
    limits: &'a Limits,
    html: bool,
    plain: bool,
}

impl Reading<'_> {
    fn add(&mut self, kind: &str, value: &str) {
        if self.features.list.len() >= self.limits.features_max {
            return;
        }
        let feature: String = kind.chars().chain([':']).chain(value.chars()).take(self.limits.feature_chars_max).collect();
        if self.seen.insert(feature.clone()) {
            self.features.list.push(feature);
        }
    }

    fn people(&mut self, digest: &Digest) {
        let envelope = &digest.envelope;
        if let Some(author) = envelope.from.iter().find(|item| item.host.is_some()) {
            self.features.author = address(author);
            self.features.author_domain = host(author);
            self.features.author_name = words::decode(author.name.as_deref().unwrap_or_default()).into_owned();
        }
        self.features.reply_domain = envelope.reply_to.iter().find_map(host);
        if let Some(author) = self.features.author.clone() {
            self.add("from", &author);
        }
        if let Some(domain) = self.features.author_domain.clone() {
            self.add("from.domain", &domain);
        }
        let name = self.features.author_name.clone();
        self.words("from.name", &name);
        if let Some(domain) = self.features.reply_domain.clone() {
            self.add("reply.domain", &domain);
        }
        let recipients = envelope.to.len() + envelope.cc.len();
        self.add("shape", &format!("recipients {}", grade(recipients)));
    }

    fn subject(&mut self, digest: &Digest) {
        let subject = words::decode(digest.envelope.subject.as_deref().unwrap_or_default()).into_owned();
        let subject: String = subject.chars().take(1_000).collect();
        self.words("subject", &subject);
        self.features.subject = subject;
    }

    fn fields(&mut self, message: &[u8]) {
        let mut has = BTreeSet::new();
        for field in header::fields(message).take(self.limits.fields_max) {
            let name = String::from_utf8_lossy(field.name.get(..64).unwrap_or(field.name)).to_ascii_lowercase();
            let value = || header::unfold(field.value.get(..1024).unwrap_or(field.value)).to_lowercase();
            match name.as_str() {
                name if TRANSPORT.contains(&name) => {}
                "x-mailer" | "user-agent" => self.words("mailer", &value()),
                "list-id" => self.add("list", &value()),
                "message-id" => {
                    let value = value();
                    let domain = value.rsplit_once('@').map_or("", |(_, domain)| domain.trim_end_matches('>'));
                    self.add("id.domain", domain);
                }
                "content-type" => self.add("type", value().split(';').next().unwrap_or_default()),
                "precedence" | "x-priority" | "importance" => self.add(name.as_str(), &value()),
                _ => self.add("field", &name),
            }
            has.insert(name);
        }
        for name in ["date", "from", "message-id"] {
            if !has.contains(name) {
                self.features.missing.push(name);
                self.add("missing", name);
            }
        }
    }

    fn files(&mut self, part: &BodyPart, depth: usize) {
        if depth > 16 || self.features.files.len() >= 100 {
            return;
        }
        if let Some(name) = part.file_name() {
            let name: String = name.chars().take(200).collect();
            self.add("file", &extension(&name));
            self.features.files.push(name);
        } else if !matches!(part.media.as_str(), "text" | "multipart" | "message") {
            self.add("part", &format!("{}/{}", part.media, part.subtype));
        }
        match &part.inside {
            Inside::Leaf => {}
            Inside::Parts(parts) => parts.iter().for_each(|part| self.files(part, depth + 1)),
            Inside::Message(nested) => self.files(&nested.body, depth + 1),
        }
    }

    fn text(&mut self, message: &[u8], part: &BodyPart) {
        let start = usize::try_from(part.body_start).unwrap_or(usize::MAX);
        let end = usize::try_from(part.body_end).unwrap_or(usize::MAX).min(message.len());
        let body = message.get(start..end).unwrap_or_default();
        let body = body.get(..self.limits.part_octets_max).unwrap_or(body);
        let left = self.limits.links_max.saturating_sub(self.features.links.len());
        let seen = if part.subtype == "html" {
            self.html = true;
            let html = text::decode(&BodyPart { subtype: "plain".to_owned(), ..part.clone() }, body);
            let found = links::of_html(&html, left);
            self.features.images += found.images;
            self.features.has_hidden_text |= found.has_hidden_text;
            self.tricks(&html);
            self.features.links.extend(found.links);
            text::strip_html(&html)
        } else {
            self.plain |= part.subtype == "plain";
            let plain = text::decode(part, body);
            self.features.links.extend(links::of_text(&plain, left));
            plain
        };
        self.features.text_chars += seen.chars().filter(|c| c.is_alphanumeric()).count();
        self.phrases(&seen);
        self.words("word", &seen);
    }

    /// What HTML of wanted mail seldom has.
    fn tricks(&mut self, html: &str) {
        let lower = html.to_ascii_lowercase();
        let split =
            lower.match_indices("<!--").filter(|(at, _)| lower.as_bytes().get(at.wrapping_sub(1)).is_some_and(u8::is_ascii_alphabetic));
        let tricks = [
            (lower.contains("<form"), "form"),
            (split.count() > 1, "split-words"),
            (lower.contains("mailto:") && lower.contains("subject=remove"), "removal-by-mail"),
            (
                ["size=+", "size=\"+", "size=5", "size=\"5", "size=6", "size=\"6", "size=7", "size=\"7"]
                    .iter()
                    .any(|size| lower.contains(size)),
                "large-type",
            ),
            (
                lower.contains("color=\"#ff0000")
                    || lower.contains("color=#ff0000")
                    || lower.contains("color=\"red")
                    || lower.contains("color=red"),
                "red-type",
            ),
        ];
        self.features.style.extend(tricks.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name));
    }

    fn phrases(&mut self, seen: &str) {
        let line = seen.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        self.features.fee_phrases += FEE_PHRASES.iter().filter(|phrase| line.contains(**phrase)).count();
        self.features.wording.resize(wording::SUBJECTS.len(), Vec::new());
        for (known, found) in self.features.wording.iter_mut().zip(wording::found(&line)) {
            known.extend(found);
            known.sort_unstable();
            known.dedup();
        }
        let letters = seen.chars().filter(|c| c.is_alphabetic()).count();
        let capitals = seen.chars().filter(|c| c.is_uppercase()).count();
        if letters > 100 && capitals * 3 > letters {
            self.features.style.insert("loud-text");
        }
        if seen.matches("!!").count() > 1 || seen.matches('!').count() > 8 {
            self.features.style.insert("exclaiming");
        }
    }

    /// What is peculiar about the header.
    fn style(&mut self, message: &[u8], digest: &Digest) {
        let value = |name: &str| header::value(message, name).map(|value| value.trim().to_lowercase());
        let subject = digest.envelope.subject.as_deref().unwrap_or_default();
        let tail = subject.trim_end().rsplit_once("    ").map_or("", |(_, tail)| tail);
        let author = self.features.author.as_deref().unwrap_or_default();
        let local = author.split('@').next().unwrap_or_default();
        let to = &digest.envelope.to;
        let raw = header::value(message, "Subject").is_some_and(|raw| raw.bytes().filter(|octet| *octet > 127).count() > 2);
        let encoded = text::parts(&digest.body).into_iter().any(|part| part.encoding.eq_ignore_ascii_case("base64"));
        let urgent = value("x-priority").is_some_and(|value| value.starts_with('1'))
            || value("x-msmail-priority").is_some_and(|value| value == "high")
            || value("importance").is_some_and(|value| value == "high");
        let peculiarities = [
            (!tail.is_empty() && !tail.contains(' '), "tail-in-subject"),
            (subject.trim_start().to_ascii_lowercase().starts_with("adv:"), "advertisement"),
            (subject.contains('$') || subject.contains('%'), "money-in-subject"),
            (subject.contains('!'), "exclaiming-subject"),
            (subject.trim_end().ends_with('?') && subject.len() > 8, "asking-subject"),
            (raw, "raw-subject"),
            (to.is_empty() || to.iter().all(|item| item.host.is_none()), "nobody-named"),
            (to.iter().filter_map(address).any(|to| to == author), "to-its-author"),
            (local.chars().filter(char::is_ascii_digit).count() >= 3, "numbered-author"),
            (self.features.author_name.is_empty(), "nameless-author"),
            (encoded, "hidden-by-encoding"),
            (urgent, "urgent"),
        ];
        self.features.style.extend(peculiarities.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name));
    }

    fn links(&mut self) {
        let hosts: BTreeSet<String> = self.features.links.iter().map(|link| link.host.clone()).collect();
        for host in hosts {
            self.add("link", &host);
        }
    }

    fn shape(&mut self) {
        let features = &self.features;
        let capitals = features.subject.chars().filter(|c| c.is_uppercase()).count();
        let letters = features.subject.chars().filter(|c| c.is_alphabetic()).count();
        let shapes = [
            (features.is_html_only, "html only"),
            (letters > 5 && capitals * 4 > letters * 3, "subject in capitals"),
            (features.subject.contains("!!"), "subject shouts"),
            (features.has_hidden_text, "hidden text"),
            (features.images > 0 && features.text_chars < 200, "pictures instead of text"),
        ];
        for (_, shape) in shapes.into_iter().filter(|(holds, _)| *holds) {
            self.add("shape", shape);
        }
    }

    fn words(&mut self, kind: &str, text: &str) {
        for word in text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '$' | '\'' | '-' | '!')) {
            if self.features.list.len() >= self.limits.features_max {
                return;
            }
            let word = word.trim_matches(|c| matches!(c, '\'' | '-'));
            if word.chars().any(is_unspaced) {
                self.pairs(kind, word);
            } else if (3..=24).contains(&word.chars().take(25).count()) {
                self.add(kind, &word.to_lowercase());
            }
        }
    }

    /// Scripts without spaces: every two characters that stand together.
    fn pairs(&mut self, kind: &str, run: &str) {
        for (first, second) in run.chars().zip(run.chars().skip(1)).take(self.limits.features_max) {
            self.add(kind, &String::from_iter([first, second]));
        }
    }
}

const fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

fn address(item: &AddressItem) -> Option<String> {
    Some(item.address()?.to_lowercase().chars().take(320).collect())
}

fn host(item: &AddressItem) -> Option<String> {
    Some(item.host.as_deref()?.to_lowercase().chars().take(255).collect())
}

/// The part of a file's name behind its last dot, in lower case.
pub(crate) fn extension(name: &str) -> String {
    name.trim_end().rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_lowercase())
}

const fn grade(count: usize) -> &'static str {
    match count {
        0 => "none",
        1 => "one",
        2..=5 => "few",
        6..=20 => "some",
        _ => "many",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(message: &str) -> Features {
        Features::of(message.as_bytes(), &Digest::of(message.as_bytes()), &Limits::default())
    }

    #[test]
    fn features_are_what_a_person_would_name() {
        let features = of(
            "From: \"Jo B\" <JO@Example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from $50\r\nDate: x\r\n\r\nCall me, it's 日本語 <https://a.example/x>\r\n",
        );
        for want in [
            "from:jo@example.org",
            "from.domain:example.org",
            "subject:grüße",
            "subject:$50",
            "missing:message-id",
            "word:call",
            "word:日本",
            "link:a.example",
        ] {
            assert!(features.list.iter().any(|feature| feature == want), "{want} in {:?}", features.list);
        }
        assert_eq!(features.missing, ["message-id"]);
    }

    #[test]
    fn what_servers_add_is_no_feature() {
        let message = "From: a@b.example\r\nSubject: one two\r\n\r\nthree\r\n";
        let ours = format!(
            "Return-Path: <>\r\nReceived: from x by y; now\r\nAuthentication-Results: h; spf=pass\r\nX-Postrider-Verdict: junk\r\n{message}"
        );
        assert_eq!(of(message), of(&ours));
    }

    #[test]
    fn buckets_never_change() {
        assert_eq!([bucket(""), bucket("word:free")], [1_339_080_641, 9_989_501]);
        assert!(bucket("word:free") != bucket("word:freE"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_octets_stay_within_the_limits(octets in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            crate::fuzz::fuzz(&octets);
        }
    }
}
