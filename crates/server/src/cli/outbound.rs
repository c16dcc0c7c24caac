//! `postrider outbound`

use super::Context;
use super::queue::ago;
use crate::admin::outbound::{self, OutboundView};
use crate::failure::{Failure, Result};
use crate::output::{number, plural, whole, words};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(super) enum Outbound {
    /// List users who sent something within a day, have limits of their own, or are held
    List,
    /// Show what one user sends and may send
    Show {
        /// The user's address
        address: String,
    },
    /// Keep a user's mail to other servers in the queue; the user and the postmaster are told
    Hold {
        /// The user's address
        address: String,
        /// Why
        #[arg(long, default_value = "an administrator held it")]
        reason: String,
    },
    /// Let a user send again and release what was kept; for a week nothing is taken for unusual
    Release {
        /// The user's address
        address: String,
    },
    /// Give a user limits of its own; 0 is none
    Limit(Limits),
}

/// Limits of a user.
#[derive(Debug, Args)]
pub(super) struct Limits {
    /// The user's address
    address: String,
    /// Messages within an hour
    #[arg(long, value_name = "NUMBER")]
    messages_per_hour: Option<u32>,
    /// Messages within a day
    #[arg(long, value_name = "NUMBER")]
    messages_per_day: Option<u32>,
    /// Recipients within an hour
    #[arg(long, value_name = "NUMBER")]
    per_hour: Option<u32>,
    /// Recipients within a day
    #[arg(long, value_name = "NUMBER")]
    per_day: Option<u32>,
    /// Recipients within a day that the user never wrote to before
    #[arg(long, value_name = "NUMBER")]
    new_per_day: Option<u32>,
    /// Go back to what is set for all users first
    #[arg(long)]
    reset: bool,
}

impl Outbound {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List => list(context, &context.call(outbound::List { address: None })?),
            Self::Show { address } => context.call(outbound::List { address: Some(address) })?.iter().for_each(|view| show(context, view)),
            Self::Hold { address, reason } => {
                let held = context.call(outbound::Hold { address, reason: Some(reason) })?;
                context.printer.done(&held, &format!("{} mail of {} to other servers", context.did("held", "hold"), held.view.user));
            }
            Self::Release { address } => {
                let held = context.call(outbound::Hold { address, reason: None })?;
                let messages = plural(held.released as u64, "message");
                context.printer.done(&held, &format!("{} {messages} of {}", context.did("released", "release"), held.view.user));
            }
            Self::Limit(limits) => limit(context, limits)?,
        }
        Ok(())
    }
}

fn limit(context: &Context, limits: Limits) -> Result<()> {
    let Limits { address, messages_per_hour, messages_per_day, per_hour, per_day, new_per_day, reset } = limits;
    if messages_per_hour.or(messages_per_day).or(per_hour).or(per_day).or(new_per_day).is_none() && !reset {
        let expected = "--messages-per-hour, --messages-per-day, --per-hour, --per-day, --new-per-day or --reset";
        return Err(Failure::usage(format!("which limit? Expected {expected}")));
    }
    let limit = outbound::Limit {
        address,
        messages_per_hour,
        messages_per_day,
        recipients_per_hour: per_hour,
        recipients_per_day: per_day,
        new_recipients_per_day: new_per_day,
        reset,
    };
    let view = context.call(limit)?;
    context.printer.done(&view, &format!("{} limits of {}: {}", context.did("set", "set"), view.user, may(&view)));
    Ok(())
}

fn list(context: &Context, views: &[OutboundView]) {
    let columns = [whole("user"), number("hour"), number("day"), number("new"), number("failed"), whole("held"), words("reason")];
    context.printer.list(views, &columns, |view| {
        let numbers = [view.recipients_hour, view.recipients_day, view.new_recipients_day, view.failed_day];
        let held = view.held_since.as_deref().map(ago).unwrap_or_default();
        let numbers = numbers.iter().map(ToString::to_string);
        [view.user.clone()].into_iter().chain(numbers).chain([held, view.reason.clone()]).collect()
    });
}

fn show(context: &Context, view: &OutboundView) {
    let state = match (&view.held_since, &view.approved_until) {
        (Some(since), _) => format!("held {}: {}", ago(since), view.reason),
        (None, Some(until)) => format!("approved; it may be held again {}", ago(until)),
        (None, None) => "usual".to_owned(),
    };
    let day = format!("{}, {} of them new, {} failed", view.recipients_day, view.new_recipients_day, view.failed_day);
    let lines = [
        ("user", view.user.clone()),
        ("messages in the last hour", view.messages_hour.to_string()),
        ("messages in the last day", view.messages_day.to_string()),
        ("recipients in the last hour", view.recipients_hour.to_string()),
        ("recipients in the last day", day),
        ("busiest hour of two weeks", view.busiest_hour.to_string()),
        ("may send", may(view)),
        ("state", state),
    ];
    context.printer.one(view, &lines);
}

fn may(view: &OutboundView) -> String {
    let limit = |number: u32| if number == 0 { "any number".to_owned() } else { number.to_string() };
    let limits = &view.limits;
    let (hour, day, new) = (limits.recipients_per_hour, limits.recipients_per_day, limits.new_recipients_per_day);
    let (messages_hour, messages_day) = (limits.messages_per_hour, limits.messages_per_day);
    let own = if limits.own { " (own limits)" } else { "" };
    format!(
        "messages: {} an hour, {} a day; recipients: {} an hour, {} a day, {} new ones a day{own}",
        limit(messages_hour),
        limit(messages_day),
        limit(hour),
        limit(day),
        limit(new)
    )
}
