//! The parameters of MAIL about time: MT-PRIORITY (RFC 6710), HOLDFOR and HOLDUNTIL (RFC 4865), BY (RFC 2852).
//!
//! Spans become moments here, by the time that the connection began and what has passed since.
//! Not whether the sender may have its way: the handler judges.

use super::mail::{bad_parameter, unknown_parameter};
use super::{MailCommand, Server};
use crate::Reply;
use crate::grammar::Parameter;
use mail::{DeliverBy, Late, Priority, Timestamp, date};
use std::time::Duration;

/// Most digits of a span (RFC 2852 §4, RFC 4865 §4.1: `1*9DIGIT`).
const SECONDS_DIGITS_MAX: usize = 9;

impl Server {
    pub(super) fn terms_parameter(&self, command: &mut MailCommand, parameter: &Parameter<'_>) -> Result<(), Reply> {
        let (config, terms) = (&self.config, &mut command.terms);
        let bad = |why: &str| bad_parameter(parameter, why);
        match (parameter.keyword.to_ascii_uppercase().as_str(), parameter.value) {
            ("MT-PRIORITY", Some(value)) if config.mt_priority => {
                terms.priority = priority(value).ok_or_else(|| bad("is a number from -9 to 9"))?;
            }
            ("BY", Some(value)) if config.deliver_by => {
                let now = self.wall_now();
                terms.deliver_by = Some(deliver_by(value, now).ok_or_else(|| bad("is seconds;N or seconds;R, for R above 0"))?);
            }
            ("HOLDFOR" | "HOLDUNTIL", Some(_)) if config.hold_max.is_some() && terms.hold_until.is_some() => {
                return Err(bad("is one too many: say HOLDFOR or HOLDUNTIL"));
            }
            ("HOLDFOR", Some(value)) if let Some(hold_max) = config.hold_max => {
                let wait = seconds(value).map(Duration::from_secs).ok_or_else(|| bad("needs a number of seconds"))?;
                terms.hold_until = Some(self.wall_now().after(within(wait, hold_max).ok_or_else(|| bad("is too long"))?));
                command.release_request = Some(format!("for;{value}"));
            }
            ("HOLDUNTIL", Some(value)) if let Some(hold_max) = config.hold_max => {
                let at = date::parse_rfc3339(value).ok_or_else(|| bad("needs a date and time of RFC 3339"))?;
                within(at.since(self.wall_now()), hold_max).ok_or_else(|| bad("is too late"))?;
                terms.hold_until = Some(at);
                command.release_request = Some(format!("until;{value}"));
            }
            _ => return Err(unknown_parameter(parameter)),
        }
        Ok(())
    }

    /// `FUTURERELEASE`, its longest span in seconds and the latest moment (RFC 4865 §3).
    pub(super) fn future_release(&self) -> Option<String> {
        let hold_max = self.config.hold_max?;
        let latest = date::rfc3339(self.wall_now().after(hold_max));
        Some(format!("FUTURERELEASE {} {latest}", hold_max.as_secs()))
    }

    /// What time it is, as far as this connection knows.
    fn wall_now(&self) -> Timestamp {
        self.wall.after(self.active.saturating_duration_since(self.started))
    }
}

fn within(wait: Duration, max: Duration) -> Option<Duration> {
    Some(wait).filter(|wait| *wait <= max)
}

fn seconds(text: &str) -> Option<u64> {
    let good = (1..=SECONDS_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// RFC 6710 §4.1: a digit, with `-` before it or not.
fn priority(value: &str) -> Option<Priority> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let good = digit.len() == 1 && value != "-0";
    if good { value.parse().ok().and_then(Priority::new) } else { None }
}

/// `[+-]seconds;N` or `;R`, with `T` behind it (RFC 2852 §4); what is to be returned cannot be late already.
fn deliver_by(value: &str, now: Timestamp) -> Option<DeliverBy> {
    let (time, mode) = value.split_once(';')?;
    let (late, trace) = match mode.to_ascii_uppercase().as_str() {
        "N" => (Late::Notify, false),
        "NT" => (Late::Notify, true),
        "R" => (Late::Return, false),
        "RT" => (Late::Return, true),
        _ => return None,
    };
    let (before, digits) = match time.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, time.strip_prefix('+').unwrap_or(time)),
    };
    let seconds = i64::try_from(seconds(digits)?).ok()?;
    let millis = seconds.saturating_mul(if before { -1000 } else { 1000 });
    let good = late == Late::Notify || millis > 0;
    good.then_some(DeliverBy { at: Timestamp(now.0.saturating_add(millis)), late, trace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read() {
        for (input, want) in [("3", Some("3")), ("-9", Some("-9")), ("0", Some("0")), ("+3", None), ("-0", None), ("10", None), ("", None)]
        {
            assert_eq!(priority(input).map(|read| read.to_string()).as_deref(), want, "{input}");
        }
    }

    #[test]
    fn times_of_delivery_are_read() {
        let by = |seconds: i64, late, trace| Some(DeliverBy { at: Timestamp((100 + seconds) * 1000), late, trace });
        for (input, want) in [
            ("60;R", by(60, Late::Return, false)),
            ("+60;rt", by(60, Late::Return, true)),
            ("60;N", by(60, Late::Notify, false)),
            ("-60;NT", by(-60, Late::Notify, true)),
            ("0;N", by(0, Late::Notify, false)),
            ("999999999;N", by(999_999_999, Late::Notify, false)),
            ("0;R", None),
            ("-60;R", None),
            ("1000000000;N", None),
            ("60", None),
            (";N", None),
            ("60;T", None),
            ("60;RTN", None),
            ("6 0;R", None),
            ("--6;N", None),
        ] {
            assert_eq!(deliver_by(input, Timestamp::from_seconds(100)), want, "{input}");
        }
    }
}
