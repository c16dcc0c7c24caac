//! Whether a message is what a SEARCH looks for.
//!
//! Judged from the cheap to the dear: what the message's record does not decide, its digest may; then
//! its header is read, then its texts. Only text parts are read, never attachments.
//!
//! Invariant: texts are compared decoded and folded (`mail::casemap`, I18NLEVEL=1), without anything cut out or put in.

use crate::imap::commands::message::read_all;
use crate::imap::commands::search::{Dated, Field, Key, Needle, When};
use crate::imap::serve::object_id;
use mail::casemap::fold;
use mail::digest::{AddressItem, BodyPart, Digest};
use mail::uid_set::UidSet;
use mail::{AccountId, Flag, MailboxId, Timestamp, header, text, words};
use store::{Message, ReadTx};

/// What all candidates of a search have in common.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) key: Key,
    pub(crate) now: Timestamp,
    pub(crate) recent: UidSet,
}

/// What is known of a message so far.
struct Candidate<'a> {
    scene: &'a Scene,
    message: &'a Message,
    digest: Option<Digest>,
    /// The message's header, as it came.
    header: Option<Vec<u8>>,
    /// Its text parts and the headers of messages within it, folded.
    texts: Option<Vec<String>>,
}

/// Whether the message matches, and how many octets were read to find out.
pub(crate) fn judge(tx: &ReadTx, scene: &Scene, message: &Message) -> store::Result<(bool, u64)> {
    let mut candidate = Candidate { scene, message, digest: None, header: None, texts: None };
    let mut octets = 0;
    loop {
        if let Some(verdict) = candidate.judge(&scene.key) {
            return Ok((verdict, octets));
        }
        octets += candidate.learn(tx)?;
    }
}

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
            texts.push(fold(&text::decode(part, &body)));
        }
        for range in nested_headers(&digest.body) {
            let block = read_all(tx, &self.message.blob, &range)?;
            texts.push(shown_header(&block));
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
            Key::Header(name, needle) => self.has_field(name, needle)?,
            Key::Body(needle) => holds(self.texts.as_ref()?, needle),
            Key::Text(needle) => self.text(needle)?,
            Key::Not(key) => !self.judge(key)?,
            Key::Or(left, right) => any([self.judge(left), self.judge(right)])?,
            Key::And(keys) => !any(keys.iter().map(|key| self.judge(key).map(|verdict| !verdict)))?,
        })
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

    fn field(&self, field: Field, needle: &Needle) -> Option<bool> {
        let envelope = &self.digest.as_ref()?.envelope;
        let addresses = match field {
            Field::Subject => {
                let subject = envelope.subject.as_deref().unwrap_or_default();
                return Some(fold(&words::decode(subject)).contains(&needle.0));
            }
            Field::Bcc => &envelope.bcc,
            Field::Cc => &envelope.cc,
            Field::From => &envelope.from,
            Field::To => &envelope.to,
        };
        // What is not as the digest shows it (comments, odd quoting) the field itself decides.
        if addresses.iter().any(|address| shown(address).contains(&needle.0)) {
            return Some(true);
        }
        let name = match field {
            Field::Bcc => "bcc",
            Field::Cc => "cc",
            Field::From => "from",
            _ => "to",
        };
        if addresses.is_empty() { Some(needle.0.is_empty()) } else { self.has_field(name, needle) }
    }

    fn has_field(&self, name: &str, needle: &Needle) -> Option<bool> {
        let listed = self.digest.as_ref().and_then(|digest| digest.listed.as_ref()).filter(|_| header::is_listed(name));
        let block = listed.map(String::as_bytes).or(self.header.as_deref())?;
        let mut fields = header::fields(block).filter(|field| field.is(name));
        Some(fields.any(|field| fold(&words::decode(&header::unfold(field.value))).contains(&needle.0)))
    }

    fn text(&self, needle: &Needle) -> Option<bool> {
        let of_header = self.header.as_ref().map(|block| shown_header(block).contains(&needle.0));
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
    texts.iter().any(|text| text.contains(&needle.0))
}

/// `ANN SMITH <ANN@EXAMPLE.ORG>`
fn shown(address: &AddressItem) -> String {
    let name = address.name.as_deref().map(words::decode).unwrap_or_default();
    let mailbox = address.mailbox.as_deref().unwrap_or_default();
    let host = address.host.as_deref().unwrap_or_default();
    fold(&format!("{name} <{mailbox}@{host}>"))
}

/// A header block as people read it, folded.
fn shown_header(block: &[u8]) -> String {
    let mut out = String::new();
    for (name, value) in text::fields(block) {
        out.push_str(&name);
        out.push_str(": ");
        out.push_str(&value);
        out.push('\n');
    }
    fold(&out)
}

fn read_part(tx: &ReadTx, message: &Message, part: &BodyPart) -> store::Result<Vec<u8>> {
    let contents = part.contents();
    let end = contents.end.min(contents.start.saturating_add(text::PART_OCTETS_MAX as u64));
    read_all(tx, &message.blob, &(contents.start..end))
}

/// Where the headers of messages within the message stand.
fn nested_headers(part: &BodyPart) -> Vec<std::ops::Range<u64>> {
    let mut found = Vec::new();
    if let Some(nested) = part.message() {
        found.push(nested.body.header());
        found.extend(nested_headers(&nested.body));
    }
    found.extend(part.parts().iter().flat_map(nested_headers));
    found
}
