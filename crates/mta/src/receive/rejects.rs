//! What is refused at its end is kept for those it was for, in their Rejects, where it tells them why.
//!
//! | refused | kept |
//! |---|---|
//! | because its author's domain asks for it (DMARC), for its points | yes |
//! | by advisers, or they would not take it | no: it may be malware |
//! | it is looping, too large, or broken; before its end | no |
//!
//! The peer is refused all the same and tells the sender. A reader who takes the message out of the Rejects teaches that it was
//! wanted (`store::lesson`): its words, its host, and whoever was *proven* to stand for it. That can lower the points of
//! the next one; it never moves DMARC's line, which is drawn before any points are counted, and never makes an author known
//! who was not proven. So nobody gets in by looking like somebody whose mail was once taken out.
//!
//! Not the refusal itself (`refused`), and not what becomes of what is kept (`store::rejects`).
//!
//! Invariants
//! - Whatever goes wrong here, the reply stays a refusal and the trail is written.
//! - What is kept says why above everything else, and whoever passes it on cannot say it in our name.

use super::advise::{Advice, Parts};
use super::data::Findings;
use super::judge::accounts;
use super::refused::Refused;
use super::{Receiver, Transaction};
use crate::advisers::Shown;
use crate::settings;
use filter::reputation::Subject;
use mail::digest::{AddressItem, Digest};
use mail::{AccountId, Event, ReceiptId, Timestamp, header, received};
use smtp::Reply;
use store::{Body, Error, NewReject, RejectsMax, WriteTx};

/// Our word in a message that is kept although it was refused.
pub(super) const FIELD: &str = "X-Postrider-Rejected";
/// Most accounts for which one message is kept. Our own bound.
const ACCOUNTS_MAX: usize = 32;

/// A refused message as it is kept.
pub(super) struct Keep {
    /// The receipt that stands in it.
    pub(super) receipt: ReceiptId,
    accounts: Vec<AccountId>,
    body: Body,
    digest: Digest,
    reply: String,
    known_by: Vec<String>,
    subjects: Vec<Subject>,
    settings: settings::Rejects,
}

impl Receiver {
    /// Whether a refusal is one whose message is kept; then it is made ready for that.
    pub(super) async fn kept_back(&mut self, transaction: &mut Transaction, refused: Refused, parts: Parts<'_>) -> Refused {
        let mut refused = refused.about(parts.block, parts.block.len() as u64 + parts.body.octets());
        let Some(findings) = refused.findings.take() else { return refused };
        let is_looping = received::count(parts.block) > self.context.settings.receive.hops_max;
        let is_off = self.context.settings.receive.rejects.keep.is_zero();
        if is_off || is_looping || accounts(transaction).is_empty() {
            return refused;
        }
        match self.keep_ready(transaction, &mut refused, *findings, parts).await {
            Ok(keep) => refused.keep = Some(Box::new(keep)),
            Err(reason) => refused.events.push(Event::NotKept { account: None, reason }),
        }
        refused
    }

    /// The message as it is kept; an error says why it is not.
    async fn keep_ready(
        &mut self,
        transaction: &mut Transaction,
        refused: &mut Refused,
        mut findings: Findings,
        parts: Parts<'_>,
    ) -> Result<Keep, String> {
        let settings = self.context.settings.receive.rejects;
        if refused.octets > settings.message_octets_max {
            return Err("it is larger than what is kept".to_owned());
        }
        let receipt = transaction.receipt.unwrap_or_else(|| self.context.receipt(self.context.clock.wall()));
        transaction.receipt = Some(receipt);
        findings.judged.field.insert_str(0, &field(&refused.reply, receipt));
        let content = content(&parts);
        let body = if self.is_advised() {
            self.body_advised(transaction, refused, &findings, parts, receipt).await?
        } else {
            let (start, _) = self.start(transaction, parts.block, &findings);
            self.stored(start, None, &parts.body).map_err(|reply| reply.to_string())?
        };
        let readable = body.read(0, usize::MAX).and_then(|octets| self.readable(&octets));
        let (filed, digest) = readable.map_err(|error| error.to_string())?;
        Ok(Keep {
            receipt,
            accounts: accounts(transaction).into_iter().collect(),
            known_by: known_by(&digest, &content),
            body: filed.unwrap_or(body),
            digest,
            reply: words(&refused.reply),
            subjects: findings.judged.subjects,
            settings,
        })
    }

    /// As advisers make it, of whom each would have taken it: they are asked, because a reader opens what is kept.
    async fn body_advised(
        &mut self,
        transaction: &Transaction,
        refused: &mut Refused,
        findings: &Findings,
        parts: Parts<'_>,
        receipt: ReceiptId,
    ) -> Result<Body, String> {
        let header = self.header(transaction, parts.block, receipt, findings);
        let Advice { message, advised } = match self.advice(transaction, header, parts.body.clone()).await {
            Ok(advice) => advice,
            Err(refusal) => {
                refused.events.extend(refusal.events);
                return Err("an adviser does not take it either".to_owned());
            }
        };
        refused.events.extend(advised.events);
        if let Some(by) = advised.discarded_by {
            return Err(format!("{by} would throw it away"));
        }
        if message.quarantine.is_some() {
            return Err("an adviser wants it held".to_owned());
        }
        let (start, _) = self.advised_start(transaction, &message, findings);
        self.stored(start, message.body.as_deref(), &parts.body).map_err(|reply| reply.to_string())
    }
}

impl Keep {
    /// Keeps it for each account; what the trail tells of that.
    pub(super) fn put(&self, tx: &mut WriteTx, receipt: ReceiptId, now: Timestamp) -> store::Result<Vec<Event>> {
        let each = self.accounts.iter().take(ACCOUNTS_MAX).map(|account| self.put_for(tx, *account, receipt, now));
        let mut events = each.collect::<store::Result<Vec<_>>>()?;
        if self.accounts.len() > ACCOUNTS_MAX {
            let reason = format!("it is kept for {ACCOUNTS_MAX} of {} accounts", self.accounts.len());
            events.push(Event::NotKept { account: None, reason });
        }
        Ok(events)
    }

    fn put_for(&self, tx: &mut WriteTx, account: AccountId, receipt: ReceiptId, now: Timestamp) -> store::Result<Event> {
        let new = NewReject {
            receipt,
            body: &self.body,
            digest: &self.digest,
            reply: &self.reply,
            known_by: &self.known_by,
            subjects: &self.subjects,
        };
        let not_kept = |reason: String| Event::NotKept { account: Some(account), reason };
        let max = RejectsMax { messages: self.settings.messages_max, octets: self.settings.octets_max };
        let kept = match tx.reject_keep(account, new, max, now) {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(not_kept("it is larger than all that is kept".to_owned())),
            // The account has gone, or has no room for one more mailbox.
            Err(error @ (Error::NotFound(_) | Error::Limit(_))) => return Ok(not_kept(error.to_string())),
            Err(error) => return Err(error),
        };
        let since = tx.reject(account, kept.email)?.map_or(now, |reject| reject.at);
        let until = since.after(self.settings.keep);
        Ok(Event::Kept { account, mailbox: kept.mailbox, email: kept.email, uid: kept.uid, until, again: kept.again })
    }
}

/// The reply on one line.
fn words(reply: &Reply) -> String {
    let status = reply.status.map(|status| format!("{status} ")).unwrap_or_default();
    format!("{} {status}{}", reply.code, reply.text)
}

/// Why it is where it is, for its reader.
fn field(reply: &Reply, receipt: ReceiptId) -> String {
    format!("{FIELD}: {};\r\n receipt {receipt}; whoever brought it was told so\r\n", words(reply))
}

/// What the message is about, and the hash of its body as it came.
fn content(parts: &Parts<'_>) -> String {
    let hash = match &parts.body {
        Shown::Stored(body) => body.hash(),
        Shown::Memory(octets) => Body::new(octets).hash(),
    };
    let subject = header::value(parts.block, "Subject").unwrap_or_default();
    format!("{subject}\0{hash}")
}

/// By what the same message is known when it is brought again: its author's Message-ID, or its author's words.
fn known_by(digest: &Digest, content: &str) -> Vec<String> {
    let author = digest.envelope.from.iter().find_map(AddressItem::address).unwrap_or_default().to_lowercase();
    let by_id = digest.message_id.as_ref().map(|id| format!("id\0{author}\0{id}"));
    by_id.into_iter().chain([format!("content\0{author}\0{content}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_names_code_words_and_receipt() {
        let reply = Reply::new(550, (5, 7, 1), "Taken for spam");
        let receipt = ReceiptId(7);
        assert_eq!(
            field(&reply, receipt),
            format!("X-Postrider-Rejected: 550 5.7.1 Taken for spam;\r\n receipt {receipt}; whoever brought it was told so\r\n")
        );
    }

    #[test]
    fn the_same_message_is_known_by_id_or_words() {
        let of = |header: &str, content: &str| known_by(&Digest::of(format!("{header}\r\n\r\nx").as_bytes()), content);
        let one = of("From: A <a@B.example>\r\nMessage-ID: <1@b>", "x");
        assert_eq!(one, ["id\0a@b.example\x001@b", "content\0a@b.example\0x"]);
        assert_eq!(of("From: a@b.example", "x"), one[1..]);
        assert!(of("From: c@b.example\r\nMessage-ID: <1@b>", "x").iter().all(|key| !one.contains(key)));
    }
}
