//! Addresses elsewhere that do not exist: after some failures an account's mail is not sent to them for a while, because
//! providers take senders for spammers who go on writing to them.
//!
//! Not where it is kept (`store`). Invariant: only failures that blame the address count, and one delivery forgives all.

use crate::settings::Suppression as Settings;
use mail::date::rfc5322;
use mail::{AccountId, Address, EnhancedStatus, Timestamp};
use store::{FOR_EVER, ReadTx, Suppression, WriteTx};

/// The status of what is not sent.
pub(crate) const STATUS: EnhancedStatus = EnhancedStatus::new(5, 7, 1);

/// Longest reason that is kept, characters. Our own bound.
const REASON_CHARS_MAX: usize = 300;

/// Counts a failure that blames the address.
pub(crate) fn failed(
    tx: &mut WriteTx,
    account: Option<AccountId>,
    address: &Address,
    reason: &str,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<()> {
    let Some(account) = account.filter(|_| settings.after > 0) else { return Ok(()) };
    // Whose account is gone needs no protection any more.
    if tx.account(account)?.is_none() {
        return Ok(());
    }
    let counted = counted(tx.suppression(Some(account), address)?, address, reason, now, settings);
    tx.suppression_set(Some(account), &counted)
}

/// Somebody took mail to the address.
pub(crate) fn delivered(tx: &mut WriteTx, account: Option<AccountId>, address: &Address) -> store::Result<()> {
    let Some(account) = account else { return Ok(()) };
    match tx.suppression(Some(account), address)? {
        Some(known) if known.failures > 0 => tx.suppression_remove(Some(account), address),
        _ => Ok(()),
    }
}

/// Why an address gets no mail of an account, in words; `None`: it does.
pub(crate) fn reason(tx: &ReadTx, account: Option<AccountId>, address: &Address, now: Timestamp) -> store::Result<Option<String>> {
    Ok(tx.suppressed(account, address, now)?.map(|known| words(&known)))
}

fn words(known: &Suppression) -> String {
    let until = match known.until {
        Some(until) if until < FOR_EVER => format!(" until {}", rfc5322(crate::bounce::utc(until))),
        _ => String::new(),
    };
    let why = match known.failures {
        0 => known.reason.clone(),
        1 => format!("mail to it failed, with: {}", known.reason),
        failures => format!("mail to it failed {failures} times, at last with: {}", known.reason),
    };
    format!("{} is suppressed{until}: {why}", known.address)
}

/// What is known after one more failure.
fn counted(known: Option<Suppression>, address: &Address, reason: &str, now: Timestamp, settings: &Settings) -> Suppression {
    let lately = known.filter(|known| now.since(known.last) <= settings.within);
    let failures = lately.as_ref().map_or(0, |known| known.failures).saturating_add(1);
    let until = (failures >= settings.after).then(|| now.after(settings.time));
    // What an administrator said holds on.
    let until = lately.and_then(|known| known.until).max(until);
    let reason = reason.chars().take(REASON_CHARS_MAX).collect();
    Suppression { address: address.clone(), failures, last: now, until, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn failures_close_together_suppress() {
        let address = Address::parse("x@y.example").unwrap();
        for (days, want) in
            [(&[0][..], "1 open"), (&[0, 1], "2 until 31"), (&[0, 1, 5], "3 until 35"), (&[0, 40], "1 open"), (&[0, 30], "2 until 60")]
        {
            let mut known = None;
            for day in days {
                known = Some(counted(known, &address, "550 no", Timestamp::from_seconds(day * DAY), &Settings::default()));
            }
            let known = known.unwrap();
            let until = known.until.map_or("open".to_owned(), |until| format!("until {}", until.seconds() / DAY));
            assert_eq!(format!("{} {until}", known.failures), want, "{days:?}");
        }
    }

    #[test]
    fn the_words_tell_why_and_how_long() {
        let known = |failures, until| Suppression {
            address: Address::parse("x@y.example").unwrap(),
            failures,
            last: Timestamp(0),
            until: Some(until),
            reason: "550 no".into(),
        };
        for (known, want) in [
            (known(0, FOR_EVER), "x@y.example is suppressed: 550 no"),
            (
                known(2, Timestamp::from_seconds(DAY)),
                "x@y.example is suppressed until Fri, 2 Jan 1970 00:00:00 +0000: mail to it failed 2 times, at last with: 550 no",
            ),
        ] {
            assert_eq!(words(&known), want);
        }
    }
}
