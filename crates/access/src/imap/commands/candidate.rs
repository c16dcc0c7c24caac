//! Whether a message is what a SEARCH looks for.
//!
//! Judged from the cheap to the dear: what the message's record does not decide, the full-text index may, then its
//! digest; then its header is read, then its texts. Only text parts are read, never attachments.
//!
//! Invariants: texts are compared decoded and folded (`mail::casemap`, I18NLEVEL=1), without anything cut out or put
//! in; the index only says no, and only where reading would.

use crate::imap::commands::message::read_all;
use crate::imap::commands::search::{Dated, Field, Key, Needle, When};
use crate::imap::serve::object_id;
use mail::digest::{AddressItem, BodyPart, Digest};
use mail::grams::{Pattern, Texts};
use mail::uid_set::UidSet;
use mail::{AccountId, Flag, MailboxId, Timestamp, header, search, text};
use std::collections::HashMap;
use store::{Message, ReadTx};

/// What all candidates of a search have in common.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) key: Key,
    pub(crate) now: Timestamp,
    pub(crate) recent: UidSet,
    /// The numbers and grams of the texts about which a message's own index is asked.
    pub(crate) texts: Vec<(usize, Pattern)>,
    /// How well messages match is asked for, too.
    pub(crate) weighs: bool,
}

/// What is known of a message so far.
struct Candidate<'a> {
    scene: &'a Scene,
    message: &'a Message,
    /// A bit for each text that neither header nor texts hold, as the full-text index says.
    absent: u64,
    digest: Option<Digest>,
    /// The message's header, as it came.
    header: Option<Vec<u8>>,
    /// Its text parts and the headers of messages within it, folded.
    texts: Option<Vec<String>>,
}

impl<'a> Candidate<'a> {
    const fn new(scene: &'a Scene, message: &'a Message, absent: u64) -> Self {
        Self { scene, message, absent, digest: None, header: None, texts: None }
    }
}

/// What messages' records and their full-text index tell: a verdict, or which texts they do not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    Is(bool),
    /// A bit for each text that it does not hold.
    Absent(u64),
}

/// Looks at messages without reading any.
pub(crate) fn verdicts(tx: &ReadTx, scene: &Scene, messages: &[Message]) -> store::Result<Vec<Verdict>> {
    let of_record = |message| Candidate::new(scene, message, 0).judge(&scene.key).map_or(Verdict::Absent(0), Verdict::Is);
    let mut verdicts: Vec<_> = messages.iter().map(of_record).collect();
    if scene.texts.is_empty() {
        return Ok(verdicts);
    }
    let open = messages.iter().zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Absent(_)));
    let mut emails: Vec<_> = open.map(|(message, _)| message.email).collect();
    emails.sort_unstable();
    emails.dedup();
    let mut absent = HashMap::with_capacity(emails.len());
    tx.texts(scene.account, &emails, |email, bits| {
        let missing = scene.texts.iter().filter(|(_, pattern)| !Texts::may_hold(bits, pattern));
        absent.insert(email, missing.fold(0, |absent, (number, _)| absent | 1_u64 << (number % 64)));
    })?;
    for (message, verdict) in messages.iter().zip(&mut verdicts) {
        if let (Verdict::Absent(texts), Some(missing)) = (verdict, absent.get(&message.email)) {
            *texts = *missing;
        }
    }
    Ok(verdicts)
}

/// How well the message matches, if it does, and how many octets were read to find out.
pub(crate) fn judge(tx: &ReadTx, scene: &Scene, message: &Message, verdict: Verdict) -> store::Result<(Option<u32>, u64)> {
    let absent = match verdict {
        Verdict::Is(verdict) => return Ok((verdict.then_some(0), 0)),
        Verdict::Absent(absent) => absent,
    };
    let mut candidate = Candidate::new(scene, message, absent);
    let mut octets = 0;
    loop {
        match candidate.judge(&scene.key) {
            Some(true) => return Ok((Some(candidate.weight_if_asked(tx, &mut octets)?), octets)),
            Some(false) => return Ok((None, octets)),
            None => octets += candidate.learn(tx)?,
        }
    }
}

/// What a hit in the subject, in an address and anywhere else weighs.
const SUBJECT_WEIGHT: u32 = 6;
const ADDRESS_WEIGHT: u32 = 5;
const TEXT_WEIGHT: u32 = 2;

impl Candidate<'_> {
    /// Reads what is next dearer; how many octets that took.
    fn learn(&mut self, tx: &ReadTx) -> store::Result<u64> {
        let Some(digest) = &self.digest else {
            self.digest = Some(tx.digest(self.scene.account, self.message.email)?);
            return Ok(0);
        };
        if self.header.is_none() {
            let header = read_all(tx, &self.message.blob, &(0..digest.body.body_start))?;
            let octets = header.len() as u64;
            self.header = Some(header);
            return Ok(octets);
        }
        let mut texts = Vec::new();
        let mut octets = 0;
        for part in text::parts(&digest.body) {
            let body = read_part(tx, self.message, part)?;
            octets += body.len() as u64;
            texts.push(search::part(part, &body));
        }
        for range in search::nested_headers(&digest.body) {
            let block = read_all(tx, &self.message.blob, &range)?;
            texts.push(search::header(&block));
        }
        self.texts = Some(texts);
        Ok(octets)
    }

    /// `None` if not enough is known.
    fn judge(&self, key: &Key) -> Option<bool> {
        Some(match key {
            Key::All | Key::SaveDateSupported => true,
            Key::Flag(flag, has) => self.message.flags.contains(flag) == *has,
            Key::Recent(is) => self.scene.recent.contains(self.message.uid) == *is,
            Key::New => self.scene.recent.contains(self.message.uid) && !self.message.flags.contains(&Flag::Seen),
            Key::Date(dated, when, day) => self.dated(*dated, *when, *day)?,
            Key::Within(younger, seconds) => {
                let age = self.scene.now.since(self.message.internal_date).as_secs();
                if *younger { age <= *seconds } else { age >= *seconds }
            }
            Key::Larger(octets) => self.message.octets > *octets,
            Key::Smaller(octets) => self.message.octets < *octets,
            Key::ModSeq(mod_seq) => self.message.mod_seq >= *mod_seq,
            Key::Uids(uids) => uids.contains(self.message.uid),
            Key::Never | Key::Set(_) | Key::Uid(_) | Key::Beyond(..) => false,
            Key::EmailId(id) => *id == object_id('E', self.message.email.0),
            Key::ThreadId(id) => *id == object_id('T', self.message.thread.0),
            Key::Field(field, needle) => self.field(*field, needle)?,
            Key::Header(name, needle) if search::is_head(name) && !self.message.heads.may_hold(&needle.pattern) => false,
            Key::Header(name, needle) => self.has_field(name, needle)?,
            Key::Body(needle) if self.lacks(needle) => false,
            Key::Body(needle) => holds(self.texts.as_ref()?, needle),
            Key::Text(needle) => self.text(needle)?,
            Key::Not(key) => !self.judge(key)?,
            Key::Fuzzy(key) => self.judge(key)?,
            Key::Or(left, right) => any([self.judge(left), self.judge(right)])?,
            Key::And(keys) => !any(keys.iter().map(|key| self.judge(key).map(|verdict| !verdict)))?,
        })
    }

    fn weight_if_asked(&mut self, tx: &ReadTx, octets: &mut u64) -> store::Result<u32> {
        if !self.scene.weighs {
            return Ok(0);
        }
        loop {
            if let Some(weight) = self.weight(&self.scene.key) {
                return Ok(weight);
            }
            *octets += self.learn(tx)?;
        }
    }

    /// How well the texts under FUZZY are found; `None` if not enough is known.
    fn weight(&self, key: &Key) -> Option<u32> {
        Some(match key {
            Key::Fuzzy(key) => self.weight(key)?,
            Key::And(keys) => keys.iter().map(|key| self.weight(key)).sum::<Option<u32>>()?,
            Key::Or(left, right) => self.weight(left)?.max(self.weight(right)?),
            Key::Field(field, needle) if needle.words.is_some() => self.field_weight(*field, needle)?,
            Key::Text(needle) if needle.words.is_some() => {
                let fields = [Field::Subject, Field::From, Field::To, Field::Cc];
                let of_fields = fields.into_iter().map(|field| self.field_weight(field, needle)).sum::<Option<u32>>()?;
                of_fields + self.text_weight(needle)?
            }
            Key::Body(needle) if needle.words.is_some() => self.text_weight(needle)?,
            Key::Header(_, needle) if needle.words.is_some() => TEXT_WEIGHT * needle.quality_in(&search::header(self.header.as_ref()?)),
            _ => 0,
        })
    }

    fn field_weight(&self, field: Field, needle: &Needle) -> Option<u32> {
        let digest = self.digest.as_ref()?;
        Some(match addresses(digest, field) {
            None => SUBJECT_WEIGHT * needle.quality_in(&search::subject(digest)),
            Some(list) => ADDRESS_WEIGHT * list.iter().map(|address| needle.quality_in(&search::address(address))).max().unwrap_or(0),
        })
    }

    /// The best text part, and a little for each further one.
    fn text_weight(&self, needle: &Needle) -> Option<u32> {
        let qualities = self.texts.as_ref()?.iter().map(|text| needle.quality_in(text));
        let (best, sum) = qualities.fold((0, 0_u32), |(best, sum), quality| (quality.max(best), sum.saturating_add(quality)));
        Some(TEXT_WEIGHT * best + (sum - best) / 10)
    }

    fn dated(&self, dated: Dated, when: When, day: i64) -> Option<bool> {
        let of = |at: Timestamp| at.seconds().div_euclid(86_400);
        let found = match dated {
            Dated::Internal => of(self.message.internal_date),
            Dated::Saved => of(self.message.saved),
            // A message without a date that can be read has none to compare.
            Dated::Sent => match self.digest.as_ref()?.sent {
                Some(sent) => sent.day(),
                None => return Some(false),
            },
        };
        Some(match when {
            When::Before => found < day,
            When::On => found == day,
            When::Since => found >= day,
        })
    }

    /// Whether the full-text index says that neither header nor texts hold it.
    const fn lacks(&self, needle: &Needle) -> bool {
        self.absent >> (needle.number % 64) & 1 == 1
    }

    fn field(&self, field: Field, needle: &Needle) -> Option<bool> {
        if !self.message.heads.may_hold(&needle.pattern) {
            return Some(false);
        }
        let digest = self.digest.as_ref()?;
        let Some(addresses) = addresses(digest, field) else { return Some(needle.is_in(&search::subject(digest))) };
        // What is not as the digest shows it (comments, odd quoting) the field itself decides.
        if addresses.iter().any(|address| needle.is_in(&search::address(address))) {
            return Some(true);
        }
        let name = match field {
            Field::Bcc => "bcc",
            Field::Cc => "cc",
            Field::From => "from",
            _ => "to",
        };
        if addresses.is_empty() { Some(needle.text.is_empty()) } else { self.has_field(name, needle) }
    }

    fn has_field(&self, name: &str, needle: &Needle) -> Option<bool> {
        if self.lacks(needle) {
            return Some(false);
        }
        let listed = self.digest.as_ref().and_then(|digest| digest.listed.as_ref()).filter(|_| header::is_listed(name));
        let block = listed.map(String::as_bytes).or(self.header.as_deref())?;
        let mut fields = header::fields(block).filter(|field| field.is(name));
        Some(fields.any(|field| needle.is_in(&search::field(field.value))))
    }

    fn text(&self, needle: &Needle) -> Option<bool> {
        if self.lacks(needle) {
            return Some(false);
        }
        if needle.words.is_some() {
            let header = search::header(self.header.as_ref()?);
            let texts = self.texts.as_ref()?.iter().map(String::as_str);
            return Some(needle.is_among(std::iter::once(header.as_str()).chain(texts)));
        }
        let of_header = self.header.as_ref().map(|block| needle.is_in(&search::header(block)));
        any([of_header, self.texts.as_ref().map(|texts| holds(texts, needle))])
    }
}

/// True if one is, false if none is, unknown if that depends on the unknown.
fn any(verdicts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for verdict in verdicts {
        match verdict {
            Some(true) => return Some(true),
            Some(false) => {}
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(false) }
}

fn holds(texts: &[String], needle: &Needle) -> bool {
    needle.is_among(texts.iter().map(String::as_str))
}

/// The addresses of a field; `None`: it is the subject.
fn addresses(digest: &Digest, field: Field) -> Option<&[AddressItem]> {
    Some(match field {
        Field::Subject => return None,
        Field::Bcc => &digest.envelope.bcc,
        Field::Cc => &digest.envelope.cc,
        Field::From => &digest.envelope.from,
        Field::To => &digest.envelope.to,
    })
}

fn read_part(tx: &ReadTx, message: &Message, part: &BodyPart) -> store::Result<Vec<u8>> {
    let contents = part.contents();
    let end = contents.end.min(contents.start.saturating_add(text::PART_OCTETS_MAX as u64));
    read_all(tx, &message.blob, &(contents.start..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::casemap::fold;
    use mail::grams::Heads;
    use mail::{Domain, EmailId, Flags, Role, Uid};
    use proptest::prelude::*;
    use store::auth::Credentials;
    use store::{Body, NewAccount, NewEmail, Store, WriteTx};

    const WORDS: [&str; 14] = [
        "invoice",
        "Rechnung",
        "caf\u{e9}",
        "ann",
        "bob@example.org",
        "\u{65e5}\u{672c}\u{8a9e}",
        "Stra\u{df}e",
        "a",
        "xy",
        "re:",
        "\u{20ac}",
        "fjord",
        "Zebra",
        "1234",
    ];

    fn words(which: &[usize]) -> String {
        which.iter().map(|word| WORDS[word % WORDS.len()]).collect::<Vec<_>>().join(" ")
    }

    /// A message whose texts are spread over encodings.
    fn message(subject: &[usize], from: &[usize], body: &[usize], form: usize) -> String {
        let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let (subject, from, body) = (words(subject), words(from), words(body));
        let head = format!("Subject: =?utf-8?B?{}?=\r\nFrom: \"{from}\" <a@b.example> (comment)\r\nX-Odd: {body}\r\n", encoded(&subject));
        match form % 4 {
            0 => format!("{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"),
            1 => format!("{head}Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n", encoded(&body)),
            2 => format!(
                "{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: {body}\r\n\r\n{subject}\r\n--b--\r\n"
            ),
            _ => format!("{head}Content-Type: image/png\r\n\r\n{body}\r\n"),
        }
    }

    fn keys() -> impl Strategy<Value = Key> {
        let needle = (prop::collection::vec(0..WORDS.len(), 1..3), 0..6usize, 1..12usize).prop_map(|(which, skip, take)| {
            let text = fold(&words(&which).chars().skip(skip).take(take).collect::<String>());
            Needle { pattern: Pattern::of(&text), number: 0, words: None, text }
        });
        let field = prop::sample::select(vec![Field::Subject, Field::From, Field::To]);
        let leaf = prop_oneof![
            (field, needle.clone()).prop_map(|(field, needle)| Key::Field(field, needle)),
            needle.clone().prop_map(Key::Text),
            needle.clone().prop_map(Key::Body),
            (prop::sample::select(vec!["subject", "From", "x-odd"]), needle).prop_map(|(name, needle)| Key::Header(name.into(), needle)),
            Just(Key::Flag(Flag::Seen, true)),
        ];
        leaf.prop_recursive(3, 8, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|key| Key::Not(Box::new(key))),
                (inner.clone(), inner.clone()).prop_map(|(left, right)| Key::Or(Box::new(left), Box::new(right))),
                prop::collection::vec(inner, 1..3).prop_map(Key::And),
            ]
        })
    }

    /// Numbers the texts of a key as its parser does.
    fn numbered(key: &mut Key, next: &mut usize) {
        match key {
            Key::Field(_, needle) | Key::Header(_, needle) | Key::Body(needle) | Key::Text(needle) => {
                needle.number = *next;
                *next += 1;
            }
            Key::Not(key) => numbered(key, next),
            Key::Or(left, right) => {
                numbered(left, next);
                numbered(right, next);
            }
            Key::And(keys) => keys.iter_mut().for_each(|key| numbered(key, next)),
            _ => {}
        }
    }

    /// Words of subject, From and body, and in which form the message is written.
    type Letter = (Vec<usize>, Vec<usize>, Vec<usize>, usize);

    fn world(messages: &[Letter], fate: &[(u8, u32)]) -> (Store, AccountId) {
        let (store, messages, fate) = (Store::memory(), messages.to_vec(), fate.to_vec());
        let account = store.write_blocking(move |tx| {
            tx.domain_add(&Domain::parse("example.org").unwrap(), Timestamp(0))?;
            let address = mail::Address::parse("ann@example.org").unwrap();
            let new = NewAccount { address, name: String::new(), credentials: Credentials::none(), quota_octets_max: None };
            let account = tx.account_create(new, Timestamp(0))?;
            for (subject, from, body, form) in &messages {
                add(tx, account, &message(subject, from, body, *form))?;
            }
            let inbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap().id;
            let sent = tx.mailbox_by_role(account, Role::Sent)?.unwrap().id;
            for (what, uid) in &fate {
                let uids = UidSet::range(Uid(*uid), Uid(*uid));
                match what {
                    0 => drop(tx.messages_destroy(account, inbox, &uids)?),
                    1 => drop(tx.email_copy(account, inbox, &uids, sent, Timestamp(0))?),
                    2 => drop(tx.email_move(account, inbox, &uids, sent, Timestamp(0))?),
                    _ => drop(tx.email_move(account, sent, &uids, inbox, Timestamp(0))?),
                }
            }
            Ok(account)
        });
        (store, account.unwrap())
    }

    fn add(tx: &mut WriteTx, account: AccountId, text: &str) -> store::Result<EmailId> {
        let inbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap().id;
        let (body, digest) = (Body::new(text.as_bytes()), Digest::of(text.as_bytes()));
        let new = NewEmail { body: &body, digest: &digest, flags: Flags::default(), internal_date: Timestamp(0), saved: Timestamp(0) };
        Ok(tx.email_add(account, inbox, new)?.email)
    }

    fn parts() -> impl Strategy<Value = Letter> {
        let words = |most| prop::collection::vec(0..WORDS.len(), 0..most);
        (words(3), words(3), words(6), 0..4usize)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
        #[test]
        fn the_index_changes_no_answer(
            messages in prop::collection::vec(parts(), 1..8),
            fate in prop::collection::vec((0..4u8, 1..9u32), 0..6),
            keys in prop::collection::vec(keys(), 1..8),
        ) {
            let (store, account) = world(&messages, &fate);
            let outcome = store.read_blocking(move |tx| {
                for mailbox in [Role::Inbox, Role::Sent].map(|role| tx.mailbox_by_role(account, role).unwrap().unwrap().id) {
                    let messages = tx.messages(account, mailbox, Uid(1), Uid(u32::MAX), usize::MAX)?;
                    for mut key in keys.clone() {
                        numbered(&mut key, &mut 0);
                        let scene = Scene::of(key, account, mailbox, Timestamp(0), UidSet::new());
                        for (message, verdict) in messages.iter().zip(verdicts(tx, &scene, &messages)?) {
                            let with = judge(tx, &scene, message, verdict)?.0;
                            let unknown = Message { heads: Heads::default(), ..message.clone() };
                            let without = judge(tx, &scene, &unknown, Verdict::Absent(0))?.0;
                            assert_eq!(with, without, "{:?} {:?}", scene.key, message.uid);
                        }
                    }
                }
                Ok(())
            });
            outcome.unwrap();
        }
    }

    #[test]
    fn what_the_index_excludes_is_not_read() {
        let (store, account) = world(&[(vec![0], vec![3], vec![11, 12], 0), (vec![1], vec![3], vec![13], 1)], &[]);
        store
            .read_blocking(move |tx| {
                let mailbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap().id;
                let messages = tx.messages(account, mailbox, Uid(1), Uid(9), 9)?;
                let needle = |text: &str| Needle { pattern: Pattern::of(&fold(text)), number: 5, words: None, text: fold(text) };
                for (key, found, read) in [
                    (Key::Text(needle("fjord")), [true, false], 1),
                    (Key::Body(needle("giraffe")), [false, false], 0),
                    (Key::Field(Field::Subject, needle("rechnung")), [false, true], 0),
                    (Key::Not(Box::new(Key::Text(needle("zebra")))), [false, true], 1),
                ] {
                    let shown = format!("{key:?}");
                    let scene = Scene::of(key, account, mailbox, Timestamp(0), UidSet::new());
                    let verdicts = verdicts(tx, &scene, &messages)?;
                    let judged: Vec<_> = messages.iter().zip(verdicts).map(|(m, v)| judge(tx, &scene, m, v).unwrap()).collect();
                    let octets = judged.iter().filter(|(_, octets)| *octets > 0).count();
                    assert_eq!(
                        (judged.iter().map(|(found, _)| found.is_some()).collect::<Vec<_>>(), octets),
                        (found.to_vec(), read),
                        "{shown}"
                    );
                }
                Ok(())
            })
            .unwrap();
    }
}
