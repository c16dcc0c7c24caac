//! What our own accounts send: limits by hour and day, and a hold on mail that is unlike the account.
//!
//! A stolen password is used to send as much as possible to as many strangers as possible. Limits slow that; the hold
//! stops it: mail of such an account is still taken and delivered here, but what goes to other servers is kept in the
//! queue until an administrator releases it.
//!
//! ```text
//!  usual ── unusual ──▶ held ── release ──▶ approved for a week ──▶ usual
//! ```
//!
//! Not the counting: that is the store's, in the commit of each message.
//!
//! Invariants
//! - [`unusual`] and [`exceeded`] are pure functions of counts and settings.
//! - Nothing is lost: what is too much is put off (450 4.7.1) or kept.

use crate::bounce;
use crate::queue;
use crate::settings::Settings;
use mail::{AccountId, Address, Event, Timestamp, TlsDemand, compose};
use std::time::Duration;
use store::{HOURS_KEPT, QueueMessage, ReadTx, Sending, SendingLimits, Traffic, WriteTx, hour};

/// How long an account that was released is not held again. Our own choice.
pub const APPROVED_FOR: Duration = Duration::from_hours(7 * 24);
/// Fewer recipients within an hour are never unusual. Our own choice.
const RECIPIENTS_MIN: u32 = 50;
/// Fewer recipients of an account within an hour of which little is known are not unusual. Our own choice.
const RECIPIENTS_OF_NEW_MIN: u32 = 150;
/// So many times the busiest hour of the last two weeks is unusual. Our own choice.
const RATE_FACTOR: u32 = 5;
/// Active days after which the account's own history counts. Our own choice.
const KNOWN_DAYS: usize = 3;
/// What the trail says of a message that is held because its account sends unlike itself.
const HELD: &str = "hold as unusual";
/// Fewer failed recipients within a day are never unusual. Our own choice.
const FAILED_MIN: u32 = 25;

/// What accounts may send. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbound {
    /// Messages of an account within an hour. Default 500.
    pub messages_per_hour: u32,
    /// Messages of an account within a day. Default 2,000.
    pub messages_per_day: u32,
    /// Recipients of an account within an hour. Default 1,000.
    pub recipients_per_hour: u32,
    /// Recipients of an account within a day. Default 5,000.
    pub recipients_per_day: u32,
    /// Recipients within a day that the account never wrote to before. Default 2,000.
    pub strangers_per_day: u32,
    /// Whether mail of accounts that send unlike themselves is kept. Default yes.
    pub hold_unusual: bool,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            messages_per_hour: 500,
            messages_per_day: 2_000,
            recipients_per_hour: 1_000,
            recipients_per_day: 5_000,
            strangers_per_day: 2_000,
            hold_unusual: true,
        }
    }
}

impl Outbound {
    /// No limit and no hold.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            messages_per_hour: 0,
            messages_per_day: 0,
            recipients_per_hour: 0,
            recipients_per_day: 0,
            strangers_per_day: 0,
            hold_unusual: false,
        }
    }

    /// For an account with limits of its own.
    #[must_use]
    pub fn of(self, own: SendingLimits) -> Self {
        Self {
            messages_per_hour: own.messages_per_hour.unwrap_or(self.messages_per_hour),
            messages_per_day: own.messages_per_day.unwrap_or(self.messages_per_day),
            recipients_per_hour: own.recipients_per_hour.unwrap_or(self.recipients_per_hour),
            recipients_per_day: own.recipients_per_day.unwrap_or(self.recipients_per_day),
            strangers_per_day: own.strangers_per_day.unwrap_or(self.strangers_per_day),
            ..self
        }
    }
}

/// What an account has sent lately and what it usually sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Within this hour and the one before, the latter as far as it is within the last 60 minutes.
    pub last_hour: Traffic,
    /// Within 24 hours.
    pub last_day: Traffic,
    /// Within the two weeks before.
    pub before: Traffic,
    /// Most recipients in one hour of the two weeks before.
    pub busiest_hour: u32,
    /// On how many days of them it sent anything.
    pub days: usize,
}

impl History {
    /// From hours as the store has them.
    #[must_use]
    pub fn of(hours: &[(u32, Traffic)], now: Timestamp) -> Self {
        let this = hour(now);
        let mut history = Self::default();
        let mut days = std::collections::BTreeSet::new();
        for (at, sent) in hours {
            match this.saturating_sub(*at) {
                0 => history.last_hour = history.last_hour.and(*sent),
                1 => history.last_hour = history.last_hour.and(part(*sent, now)),
                _ => {}
            }
            if this.saturating_sub(*at) < 24 {
                history.last_day = history.last_day.and(*sent);
            } else {
                history.before = history.before.and(*sent);
                history.busiest_hour = history.busiest_hour.max(sent.recipients);
                days.insert(at / 24);
            }
        }
        history.days = days.len();
        history
    }

    /// As the store has it now.
    pub(crate) fn read(tx: &ReadTx, account: AccountId, now: Timestamp) -> store::Result<Self> {
        Ok(Self::of(&tx.traffic(account, hour(now).saturating_sub(HOURS_KEPT))?, now))
    }
}

/// What of the hour before lies within the last 60 minutes, if it was sent evenly.
fn part(sent: Traffic, now: Timestamp) -> Traffic {
    let left = u32::try_from(3600 - now.seconds().rem_euclid(3600)).unwrap_or(0);
    let of = |number: u32| u32::try_from(u64::from(number) * u64::from(left) / 3600).unwrap_or(u32::MAX);
    Traffic { messages: of(sent.messages), recipients: of(sent.recipients), strangers: of(sent.strangers), failed: of(sent.failed) }
}

/// Which limit this would exceed, in words for the sender.
#[must_use]
pub fn exceeded(history: &History, more: Traffic, limits: &Outbound) -> Option<String> {
    let (hour, day) = (history.last_hour, history.last_day);
    let checks = [
        (hour.messages, more.messages, limits.messages_per_hour, "send", "messages an hour"),
        (day.messages, more.messages, limits.messages_per_day, "send", "messages a day"),
        (hour.recipients, more.recipients, limits.recipients_per_hour, "send to", "recipients an hour"),
        (day.recipients, more.recipients, limits.recipients_per_day, "send to", "recipients a day"),
        (day.strangers, more.strangers, limits.strangers_per_day, "send to", "new recipients a day"),
    ];
    let is_beyond = |(used, more, limit, ..): &(u32, u32, u32, _, _)| *limit > 0 && *more > 0 && used.saturating_add(*more) > *limit;
    let (.., limit, send, what) = checks.into_iter().find(is_beyond)?;
    Some(format!("You may {send} {limit} {what}; try again later"))
}

/// Why what was sent lately is unlike the account, if it is.
#[must_use]
pub fn unusual(history: &History) -> Option<String> {
    let (hour, day, before) = (history.last_hour, history.last_day, history.before);
    let is_known = history.days >= KNOWN_DAYS;
    let bound = if is_known { RECIPIENTS_MIN.max(history.busiest_hour.saturating_mul(RATE_FACTOR)) } else { RECIPIENTS_OF_NEW_MIN };
    if hour.recipients >= bound && strangers_of(hour) >= 50 {
        let usual = if is_known { format!("never more than {} before", history.busiest_hour) } else { "little is known of it".to_owned() };
        return Some(format!("{} recipients within an hour, {}, {} % of them new to it", hour.recipients, usual, strangers_of(hour)));
    }
    if is_known && day.recipients >= 2 * RECIPIENTS_MIN && strangers_of(day) >= 80 && strangers_of(before) < 40 {
        let (now, usual) = (strangers_of(day), strangers_of(before));
        return Some(format!("{now} % of {} recipients within a day are new to it, {usual} % are usual", day.recipients));
    }
    if day.failed >= FAILED_MIN && percent(day.failed, day.recipients) >= 25 && percent(before.failed, before.recipients) < 10 {
        return Some(format!("{} of {} recipients within a day could not be reached", day.failed, day.recipients));
    }
    None
}

fn strangers_of(sent: Traffic) -> u32 {
    percent(sent.strangers, sent.recipients)
}

fn percent(part: u32, whole: u32) -> u32 {
    u32::try_from(u64::from(part) * 100 / u64::from(whole.max(1))).unwrap_or(u32::MAX)
}

/// Counts a message that an account submits, before its recipients become known to it; whether what of it goes to other
/// servers is to be held.
pub(crate) fn submitted<'a>(
    tx: &mut WriteTx,
    account: AccountId,
    recipients: impl Iterator<Item = &'a Address>,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<Option<String>> {
    let mut sent = Traffic { messages: 1, ..Traffic::default() };
    for recipient in recipients {
        sent.recipients += 1;
        sent.strangers += u32::from(tx.is_stranger(account, recipient)?);
    }
    tx.traffic_add(account, sent, now)?;
    watch(tx, account, now, settings)
}

/// Counts recipients that an account could not reach.
pub(crate) fn failed(
    tx: &mut WriteTx,
    account: Option<AccountId>,
    recipients: usize,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<()> {
    let Some(account) = account.filter(|_| recipients > 0) else { return Ok(()) };
    if tx.account(account)?.is_none() {
        return Ok(());
    }
    let failed = u32::try_from(recipients).unwrap_or(u32::MAX);
    tx.traffic_add(account, Traffic { failed, ..Traffic::default() }, now)?;
    watch(tx, account, now, settings).map(drop)
}

/// Looks at what the account has sent; why it is held, if it is.
fn watch(tx: &mut WriteTx, account: AccountId, now: Timestamp, settings: &Settings) -> store::Result<Option<String>> {
    let sending = tx.sending(account)?;
    if sending.held.is_some() {
        return Ok(Some(sending.reason));
    }
    let approved = sending.approved_until.is_some_and(|until| now < until);
    if !settings.outbound.hold_unusual || approved {
        return Ok(None);
    }
    let Some(reason) = unusual(&History::read(tx, account, now)?) else { return Ok(None) };
    hold(tx, account, &reason, now, settings)?;
    Ok(Some(reason))
}

/// Holds what an account sends to other servers from now on, and tells it and the postmaster.
///
/// # Errors
/// When there is no such account, and those of the store.
pub fn hold(tx: &mut WriteTx, account: AccountId, reason: &str, now: Timestamp, settings: &Settings) -> store::Result<()> {
    let sending = Sending { held: Some(now), reason: reason.to_owned(), approved_until: None, ..tx.sending(account)? };
    tx.sending_set(account, &sending)?;
    let Some(found) = tx.account(account)? else { return Ok(()) };
    tracing::warn!(account = account.0, reason, "mail of an account to other servers is held");
    let postmaster = Address::parse(&format!("postmaster@{}", found.address.domain())).ok();
    for to in [Some(found.address.clone()), postmaster].into_iter().flatten() {
        let octets = notice(&found.address, &to, reason, now, settings);
        bounce::post(tx, &octets, &to, TlsDemand::ByPolicy, now, settings)?;
    }
    Ok(())
}

/// Lets an account send again and releases what of it was held because of that; how many messages. What an
/// administrator, a rule or an adviser keeps back stays.
///
/// # Errors
/// When there is no such account, and those of the store.
pub fn release(tx: &mut WriteTx, account: AccountId, now: Timestamp) -> store::Result<usize> {
    let sending = Sending { held: None, reason: String::new(), approved_until: Some(now.after(APPROVED_FOR)), ..tx.sending(account)? };
    tx.sending_set(account, &sending)?;
    let rules = tx.hold_rules()?;
    let mut released = 0;
    for message in tx.queue_all(mail::ReceiptId(0), usize::MAX)? {
        if message.account != Some(account) || !is_held(tx, &message)? {
            continue;
        }
        if let Some(rule) = rules.iter().find(|rule| rule.fits(&message)) {
            queue::admin::hold_by(tx, message.receipt, rule, now)?;
        } else {
            queue::admin::release(tx, message.receipt, now)?;
            released += 1;
        }
    }
    Ok(released)
}

/// Whether a message is held because its account sends unlike itself, and for no other reason: by its trail.
fn is_held(tx: &ReadTx, message: &QueueMessage) -> store::Result<bool> {
    if !message.held || message.held_by.is_some() {
        return Ok(false);
    }
    let trail = tx.trail(message.receipt)?;
    let last = trail.iter().rev().find_map(|entry| match &entry.event {
        Event::Handled { action, .. } if action.starts_with("hold") || action == "release" => Some(action),
        _ => None,
    });
    Ok(last.is_some_and(|action| action == HELD))
}

/// What the trail says of a message that is held.
pub(crate) fn event() -> Event {
    Event::Handled { action: HELD.to_owned(), recipient: None }
}

fn notice(account: &Address, to: &Address, reason: &str, now: Timestamp, settings: &Settings) -> Vec<u8> {
    let from = Address::parse(&format!("mailer-daemon@{}", settings.hostname)).unwrap_or_else(|_| to.clone());
    let id = format!("<held.{}.{}@{}>", now.0, queue::schedule::scramble(to.key().bytes().map(u64::from).sum()), settings.hostname);
    let fields = compose::Fields::new()
        .address("From", "Mail server", &from)
        .address("To", "", to)
        .text("Subject", &format!("Mail of {account} is held"))
        .date("Date", bounce::utc(now))
        .raw("Message-ID", &id)
        .raw("Auto-Submitted", "auto-generated")
        .raw("MIME-Version", "1.0")
        .raw("Content-Type", "text/plain; charset=utf-8");
    let text = format!(
        "What {account} sends to other servers is kept for now, and nothing of it is lost:\r\n\r\n    {reason}\r\n\r\n\
         If {account} did not send that, somebody else knows the password: change it.\r\n\
         If it is all right, the administrator lets it go on with\r\n\r\n    postrider outbound release {account}\r\n\r\n\
         and sees what is kept with\r\n\r\n    postrider queue list --from {account}\r\n"
    );
    format!("{}\r\n{text}", fields.as_str()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000 / 3600 * 3600 + 1800);

    /// `(hours ago, recipients, strangers, failed)`
    fn history(hours: &[(u32, u32, u32, u32)]) -> History {
        let sent = |(ago, recipients, strangers, failed): &(u32, u32, u32, u32)| {
            (hour(NOW) - ago, Traffic { messages: 1, recipients: *recipients, strangers: *strangers, failed: *failed })
        };
        let mut hours: Vec<_> = hours.iter().map(sent).collect();
        hours.sort_by_key(|(at, _)| *at);
        History::of(&hours, NOW)
    }

    #[test]
    fn the_hour_before_counts_as_far_as_it_is_within_the_last_60_minutes() {
        let history = history(&[(0, 10, 1, 0), (1, 100, 20, 0), (23, 5, 5, 0), (24, 7, 7, 0), (50, 9, 0, 0)]);
        assert_eq!((history.last_hour.recipients, history.last_hour.strangers), (60, 11));
        assert_eq!((history.last_day.recipients, history.before.recipients), (115, 16));
        assert_eq!((history.busiest_hour, history.days >= 2), (9, true));
    }

    #[test]
    fn limits_are_kept_and_may_be_the_accounts_own() {
        let limits = Outbound { recipients_per_hour: 20, recipients_per_day: 50, strangers_per_day: 10, ..Outbound::default() };
        let one = |strangers| Traffic { messages: 0, recipients: 1, strangers, failed: 0 };
        for (hours, more, want) in [
            (&[(0, 19, 0, 0)][..], one(0), None),
            (&[(0, 20, 0, 0)], one(0), Some("20 recipients an hour")),
            (&[(2, 50, 0, 0)], one(0), Some("50 recipients a day")),
            (&[(25, 50, 0, 0)], one(0), None),
            (&[(2, 12, 10, 0)], one(0), None),
            (&[(2, 12, 10, 0)], one(1), Some("10 new recipients a day")),
        ] {
            let found = exceeded(&history(hours), more, &limits);
            assert_eq!(found.as_deref(), want.map(|what| format!("You may send to {what}; try again later")).as_deref(), "{hours:?}");
        }
        let few = Outbound { messages_per_hour: 1, ..limits };
        let more = Traffic { messages: 1, ..one(0) };
        assert_eq!(exceeded(&history(&[(0, 1, 0, 0)]), more, &few).as_deref(), Some("You may send 1 messages an hour; try again later"));
        assert_eq!(exceeded(&history(&[(2, 1, 0, 0)]), more, &few), None);
        let own = SendingLimits { recipients_per_hour: Some(0), strangers_per_day: Some(0), ..SendingLimits::default() };
        assert_eq!(exceeded(&history(&[(0, 40, 40, 0)]), one(1), &limits.of(own)), None);
    }

    #[test]
    fn what_is_unlike_the_account_is_found() {
        let quiet: Vec<_> = (2..12).map(|day| (day * 24, 10, 2, 0)).collect();
        let busy: Vec<_> = (2..12).map(|day| (day * 24, 200, 100, 3)).collect();
        let check = |before: &[(u32, u32, u32, u32)], now: &[(u32, u32, u32, u32)], want: Option<&str>| {
            let found = unusual(&history(&[before, now].concat()));
            assert_eq!(found.is_some(), want.is_some(), "{now:?}: {found:?}");
            assert!(found.is_none_or(|found| found.contains(want.unwrap_or_default())), "{now:?} {want:?}");
        };
        check(&quiet, &[(0, 40, 40, 0)], None);
        check(&quiet, &[(0, 60, 55, 0)], Some("never more than 10 before"));
        check(&quiet, &[(0, 60, 2, 0)], None);
        check(&busy, &[(0, 300, 290, 0)], None);
        check(&busy, &[(0, 1_200, 1_100, 0)], Some("never more than 200"));
        check(&[], &[(0, 100, 100, 0)], None);
        check(&[], &[(0, 200, 180, 0)], Some("little is known"));
        check(&quiet, &[(3, 30, 28, 0), (9, 40, 36, 0), (15, 40, 36, 0)], Some("% of 110 recipients within a day"));
        check(&quiet, &[(3, 40, 10, 30), (9, 40, 10, 0)], Some("30 of 80 recipients"));
        check(&busy, &[(3, 40, 10, 10)], None);
    }

    #[test]
    fn the_notice_says_what_to_do() {
        let account = Address::parse("ann@ours.example").unwrap();
        let settings = Settings::new(mail::Domain::parse("mx.ours.example").unwrap());
        let text = String::from_utf8(notice(&account, &account, "300 recipients", NOW, &settings)).unwrap();
        assert!(text.contains("To: ann@ours.example\r\n") && text.contains("postrider outbound release ann@ours.example\r\n"), "{text}");
    }
}
