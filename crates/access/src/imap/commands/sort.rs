//! SORT (RFC 5256), with DISPLAYFROM and DISPLAYTO (RFC 5957), RELEVANCY (RFC 6203 §6), and what an extended one
//! returns (RFC 5267 §3).
//!
//! Everything that is sorted by stands in the records and digests: no message is parsed.

use crate::imap::command::Command;
use crate::imap::commands::candidate::Scene;
use crate::imap::commands::fetch::Item;
use crate::imap::commands::returns::{Listed, Response, Returns};
use crate::imap::commands::search::{self, Key, Wants};
use crate::imap::commands::walk::walk;
use crate::imap::contexts::{Context, Members};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::selected::Selected;
use crate::imap::serve::{self, Outcome, Server};
use mail::casemap::fold;
use mail::digest::{AddressItem, Digest};
use mail::{AccountId, Uid, words};
use std::cmp::Ordering;
use std::sync::Arc;
use store::{Message, ReadTx};

/// `UID SORT RETURN (ALL) (SUBJECT REVERSE DATE) UTF-8 UNDELETED`
#[derive(Debug, Clone, PartialEq)]
pub struct Sort {
    /// Uids are answered.
    pub by_uid: bool,
    /// RETURN was given: ESEARCH is answered.
    pub returns: Option<Returns>,
    /// What is fetched of messages that come into the result later.
    pub items: Vec<Item>,
    /// By what, the weightiest first.
    pub criteria: Vec<Criterion>,
    /// What messages must be.
    pub key: Key,
}

/// One thing to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Criterion {
    /// What of a message.
    pub by: By,
    /// `REVERSE`
    pub reverse: bool,
}

/// What of a message can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// INTERNALDATE
    Arrival,
    /// The mailbox of the first `Cc`.
    Cc,
    /// The sent date.
    Date,
    /// The first `From` as it is shown.
    DisplayFrom,
    /// The first `To` as it is shown.
    DisplayTo,
    /// The mailbox of the first `From`.
    From,
    /// How well it matches, the best first.
    Relevancy,
    /// Octets.
    Size,
    /// The base subject.
    Subject,
    /// The mailbox of the first `To`.
    To,
}

/// Most criteria: there are ten.
const CRITERIA_MAX: usize = 16;
/// Octets of a text that decide its place. Our own bound: a row for each message is in memory.
const TEXT_OCTETS_MAX: usize = 256;

const EXPECTED: &str = "ARRIVAL, CC, DATE, DISPLAYFROM, DISPLAYTO, FROM, RELEVANCY, SIZE, SUBJECT or TO";

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or name a charset that we do not know.
pub fn parse(parser: &mut Parser<'_>, by_uid: bool) -> Parsed<Command> {
    parser.space()?;
    let start = parser.clone();
    let (returns, items) = Returns::parse(parser)?.unzip();
    let criteria = parser.list(CRITERIA_MAX, criterion)?;
    if criteria.is_empty() {
        return parser.fault("something to sort by");
    }
    parser.space()?;
    let key = search::with_charset(parser)?;
    let by_relevancy = criteria.iter().any(|criterion| criterion.by == By::Relevancy);
    if (by_relevancy || returns.is_some_and(|returns| returns.relevancy)) && !key.is_fuzzy() {
        return start.fault("FUZZY beside RELEVANCY");
    }
    Ok(Command::Sort(Box::new(Sort { by_uid, returns, items: items.unwrap_or_default(), criteria, key })))
}

fn criterion(parser: &mut Parser<'_>) -> Parsed<Criterion> {
    let reverse = parser.accept_word("REVERSE ");
    let start = parser.clone();
    let by = match parser.name(EXPECTED)?.to_ascii_uppercase().as_str() {
        "ARRIVAL" => By::Arrival,
        "CC" => By::Cc,
        "DATE" => By::Date,
        "DISPLAYFROM" => By::DisplayFrom,
        "DISPLAYTO" => By::DisplayTo,
        "FROM" => By::From,
        "RELEVANCY" => By::Relevancy,
        "SIZE" => By::Size,
        "SUBJECT" => By::Subject,
        "TO" => By::To,
        _ => return start.fault(EXPECTED),
    };
    Ok(Criterion { by, reverse })
}

/// What a message is sorted by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(Box<str>),
}

/// A message and its values, one for each criterion.
type Row = (Box<[Value]>, Uid);

impl Sort {
    /// Finds, gathers what is sorted by, sorts, and answers once.
    pub(crate) async fn run(self: Box<Self>, server: &mut Server, tag: String) -> Outcome {
        search::find(Wants::Sort(self), server, tag).await
    }

    pub(crate) async fn answer(self: Box<Self>, server: &mut Server, tag: &str, found: search::Found) -> Outcome {
        let selected = server.selected()?;
        let criteria: Arc<[Criterion]> = self.criteria.as_slice().into();
        let scores: Arc<[(Uid, u8)]> = found.relevancies().into();
        let gather = {
            let (criteria, scores) = (criteria.clone(), scores.clone());
            move |tx: &ReadTx, account, message: &Message, rows: &mut Vec<Row>| {
                rows.push((values(tx, account, message, (&criteria, &scores))?, message.uid));
                Ok(())
            }
        };
        let rows = walk(server, selected.mailbox, &found.uids, Vec::new(), gather).await?;
        let by = criteria.clone();
        let sorted = Listed::Sorted(server.read(move |_| Ok(sorted(rows, &by))).await?);
        if let Some(returns) = self.returns.filter(|returns| returns.save) {
            let kept = returns.kept(&sorted);
            server.revise(|selected| selected.saved = kept);
        }
        let context = self.returns.filter(|returns| returns.update).map(|_| {
            let members = Members::Sorted(Arc::new(sorted.in_order()), criteria);
            Context::new(server, &selected, tag, self.by_uid, &self.key, self.items.clone(), members)
        });
        let mut data = self.told(&selected, &found, sorted, &scores, tag);
        if let Some(context) = context {
            search::keep_up(server, context, &found, &mut data);
        }
        let last = server.finish(Status::ok("Done"), self.by_uid).await?;
        Ok(serve::before(data, last))
    }

    fn told(&self, selected: &Selected, found: &search::Found, sorted: Listed, scores: &[(Uid, u8)], tag: &str) -> Vec<u8> {
        let scores: Vec<_> = match &sorted {
            Listed::Sorted(uids) => uids.iter().map(|uid| score(scores, *uid)).collect(),
            Listed::Set(_) => Vec::new(),
        };
        let listed = if self.by_uid { sorted } else { numbered(selected, sorted) };
        let mod_seq = self.key.names_mod_seq().then(|| found.mod_seq(Returns::ALL));
        let mut data = Vec::new();
        match self.returns {
            // RFC 5256 §4, RFC 7162 §3.1.6
            None => {
                data.extend_from_slice(b"* SORT");
                listed.write_each(&mut data);
                if let Some(mod_seq) = mod_seq.filter(|_| !listed.is_empty()) {
                    response::line(&mut data, &format!(" (MODSEQ {mod_seq})"));
                } else {
                    data.extend_from_slice(b"\r\n");
                }
            }
            Some(returns) if returns.is_save_alone() => {}
            Some(returns) => {
                Response { tag, of: None, by_uid: self.by_uid, returns, listed: &listed, scores: &scores, mod_seq }.write(&mut data);
            }
        }
        data
    }
}

/// The sequence numbers of Uids.
fn numbered(selected: &Selected, uids: Listed) -> Listed {
    match uids {
        Listed::Set(_) => uids,
        Listed::Sorted(uids) => {
            Listed::Sorted(uids.iter().filter_map(|uid| selected.uids.rank(*uid)).map(|number| Uid(number.0)).collect())
        }
    }
}

fn sorted(mut rows: Vec<Row>, criteria: &[Criterion]) -> Vec<Uid> {
    rows.sort_unstable_by(|a, b| compare(a, b, criteria));
    rows.into_iter().map(|(_, uid)| uid).collect()
}

/// The order in the mailbox decides what nothing else does, and is never reversed.
fn compare(a: &Row, b: &Row, criteria: &[Criterion]) -> Ordering {
    for ((left, right), criterion) in a.0.iter().zip(&b.0).zip(criteria) {
        let order = if criterion.reverse { right.cmp(left) } else { left.cmp(right) };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.1.cmp(&b.1)
}

/// Where a message stands among others that are in order.
///
/// # Errors
/// When the store fails.
pub(crate) fn place(tx: &ReadTx, scene: &Scene, criteria: &[Criterion], among: &[Uid], message: &Message) -> store::Result<usize> {
    let row = (values(tx, scene.account, message, (criteria, &[]))?, message.uid);
    let (mut low, mut high) = (0, among.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let uid = among.get(middle).copied().unwrap_or_default();
        let before = match tx.message(scene.account, scene.mailbox, uid)? {
            Some(other) => compare(&(values(tx, scene.account, &other, (criteria, &[]))?, uid), &row, criteria) == Ordering::Less,
            None => false,
        };
        if before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// How relevant a message was found to be.
fn score(scores: &[(Uid, u8)], uid: Uid) -> u8 {
    let at = scores.binary_search_by_key(&uid, |(uid, _)| *uid);
    at.ok().and_then(|at| scores.get(at)).map_or(1, |(_, score)| *score)
}

fn values(
    tx: &ReadTx,
    account: AccountId,
    message: &Message,
    (criteria, scores): (&[Criterion], &[(Uid, u8)]),
) -> store::Result<Box<[Value]>> {
    let in_record = |criterion: &Criterion| matches!(criterion.by, By::Arrival | By::Size | By::Relevancy);
    let digest = if criteria.iter().all(in_record) { None } else { Some(tx.digest(account, message.email)?) };
    Ok(criteria.iter().map(|criterion| value(criterion.by, message, digest.as_ref(), scores)).collect())
}

fn value(by: By, message: &Message, digest: Option<&Digest>, scores: &[(Uid, u8)]) -> Value {
    let text = |text: &str| Value::Text(cut(&fold(text)).into());
    if by == By::Relevancy {
        return Value::Number(-i64::from(score(scores, message.uid)));
    }
    let Some(digest) = digest else {
        return Value::Number(if by == By::Size { i64::try_from(message.octets).unwrap_or(i64::MAX) } else { message.internal_date.0 });
    };
    let envelope = &digest.envelope;
    match by {
        By::Arrival | By::Relevancy => Value::Number(message.internal_date.0),
        By::Size => Value::Number(i64::try_from(message.octets).unwrap_or(i64::MAX)),
        By::Date => Value::Number(sent(message, digest)),
        By::Subject => text(&digest.base_subject),
        By::Cc => text(mailbox(&envelope.cc)),
        By::From => text(mailbox(&envelope.from)),
        By::To => text(mailbox(&envelope.to)),
        By::DisplayFrom => text(&display(envelope.from.first())),
        By::DisplayTo => text(&display(envelope.to.first())),
    }
}

/// The sent date, or INTERNALDATE, in milliseconds (RFC 5256 §2.2).
pub(crate) fn sent(message: &Message, digest: &Digest) -> i64 {
    digest.sent.map_or(message.internal_date, |sent| sent.at).0
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_OCTETS_MAX)).unwrap_or_default()
}

fn mailbox(addresses: &[AddressItem]) -> &str {
    addresses.first().and_then(|address| address.mailbox.as_deref()).unwrap_or_default()
}

/// RFC 5957 §3
fn display(address: Option<&AddressItem>) -> String {
    let Some(address) = address else { return String::new() };
    let name = address.name.as_deref().map(words::decode).unwrap_or_default();
    if !name.is_empty() {
        return name.into_owned();
    }
    match (&address.mailbox, &address.host) {
        (Some(mailbox), Some(host)) => format!("{mailbox}@{host}"),
        (mailbox, _) => mailbox.clone().unwrap_or_default(),
    }
}
