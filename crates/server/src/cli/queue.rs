//! `postrider queue`

use super::Context;
use crate::admin::destination::{self, DestinationView};
use crate::admin::hold_rule;
use crate::admin::queue::{self, Action, QueueView, RecipientView, Selection};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::{Format, number, plural, relative, size, whole, words};
use crate::secret::confirm;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// List messages
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one message and what happened to its recipients
    Show {
        /// Its id
        id: String,
    },
    /// Try messages now
    Retry(Chosen),
    /// Keep messages, but do not try them
    Hold(Chosen),
    /// Try held messages again
    Release(Chosen),
    /// Give messages up and return them to their senders
    Bounce(Chosen),
    /// Forget messages without a word to anybody
    Drop(Chosen),
    /// Show where mail goes and how each destination is
    Destinations,
    /// Keep mail for a domain from being tried
    Suspend {
        /// The recipients' domain
        domain: String,
        /// Why, for those who look later
        #[arg(long, default_value = "", value_name = "TEXT")]
        why: String,
    },
    /// Try mail for a suspended domain again
    Resume {
        /// The recipients' domain
        domain: String,
    },
    /// Hold mail by rules as it enters the queue
    #[command(subcommand)]
    HoldRules(HoldRules),
}

#[derive(Debug, Subcommand)]
pub(super) enum HoldRules {
    /// Hold mail that fits all that is said
    Add {
        /// Only mail of this user
        #[arg(long, value_name = "ADDRESS")]
        user: Option<String>,
        /// Only mail from this address or domain
        #[arg(long, value_name = "ADDRESS|DOMAIN")]
        from: Option<String>,
        /// Only mail with a recipient of this address or domain; the whole message is held
        #[arg(long, value_name = "ADDRESS|DOMAIN")]
        to: Option<String>,
        /// Why, for those who look later
        #[arg(long, default_value = "", value_name = "TEXT")]
        why: String,
        /// Also hold what is in the queue already
        #[arg(long)]
        queued: bool,
    },
    /// List the rules
    List,
    /// Remove a rule; what it held stays held unless it is released
    Remove {
        /// Its number
        number: u32,
        /// Try what it held again
        #[arg(long)]
        release: bool,
    },
}

/// Which messages by what they say.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only with a recipient of this address or domain
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    to: Option<String>,
    /// Only from this address or domain
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    from: Option<String>,
    /// Only what this hold rule holds
    #[arg(long, value_name = "NUMBER")]
    rule: Option<u32>,
}

/// Which messages an action is for.
#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Their ids
    ids: Vec<String>,
    /// All messages, or all that --to and --from leave
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Only this recipient of theirs
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
}

impl Queue {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List { filter } => {
                let selection = Selection { ids: Vec::new(), to: filter.to, from: filter.from, rule: filter.rule };
                list(context, &context.call(queue::List { selection })?);
                Ok(())
            }
            Self::Show { id } => {
                show(context, &context.call(queue::Show { id })?);
                Ok(())
            }
            Self::Retry(chosen) => act(context, Action::Retry, chosen, "tried now", "try now"),
            Self::Hold(chosen) => act(context, Action::Hold, chosen, "held", "hold"),
            Self::Release(chosen) => act(context, Action::Release, chosen, "released", "release"),
            Self::Bounce(chosen) => act(context, Action::Bounce, chosen, "bounced", "bounce"),
            Self::Drop(chosen) => act(context, Action::Drop, chosen, "dropped", "drop"),
            Self::Destinations => {
                destinations(context, &context.call(destination::List {})?);
                Ok(())
            }
            Self::Suspend { domain, why } => {
                let done = context.call(destination::Suspend { domain, why })?;
                context.printer.done(&done, &format!("{} {}: its mail waits", context.did("suspended", "suspend"), done.domain));
                Ok(())
            }
            Self::Resume { domain } => {
                let done = context.call(destination::Resume { domain })?;
                context.printer.done(&done, &format!("{} {}: its mail is tried", context.did("resumed", "resume"), done.domain));
                Ok(())
            }
            Self::HoldRules(rules) => rules.run(context),
        }
    }
}

impl HoldRules {
    fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Add { user, from, to, why, queued } => {
                let made = context.call(hold_rule::Add { user, from, to, why, queued })?;
                let held = if queued { format!("; {} of the queue held", plural(made.held as u64, "message")) } else { String::new() };
                context.printer.done(&made, &format!("{} hold rule {}{held}", context.did("made", "make"), made.number));
            }
            Self::List => {
                let rules = context.call(hold_rule::List {})?;
                let columns = [number("number"), whole("user"), whole("from"), whole("to"), number("held"), whole("made")];
                context.printer.list_with_remarks(&rules, &columns, "why", |rule| {
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    let (user, from, to) = (text(&rule.user), text(&rule.from), text(&rule.to));
                    vec![rule.number.to_string(), user, from, to, rule.held.to_string(), ago(&rule.created), rule.why.clone()]
                });
            }
            Self::Remove { number, release } => {
                let gone = context.call(hold_rule::Remove { number, release })?;
                let rest =
                    if release { "what it held is tried".to_owned() } else { format!("{} stay held", plural(gone.held as u64, "message")) };
                context.printer.done(&gone, &format!("{} hold rule {number}; {rest}", context.did("removed", "remove")));
            }
        }
        Ok(())
    }
}

fn destinations(context: &Context, destinations: &[DestinationView]) {
    let columns =
        [whole("destination"), whole("state"), number("waiting"), number("connections"), whole("until"), whole("provider"), whole("since")];
    context.printer.list_with_remarks(destinations, &columns, "last", |known| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let when = |at: &Option<String>| at.as_deref().map(ago).unwrap_or_default();
        let connections = known.allowed.map_or_else(|| "-".to_owned(), |allowed| format!("{}/{allowed}", known.connections));
        let since = if known.suspended_since.is_some() { when(&known.suspended_since) } else { when(&known.last_at) };
        let last = known.why.clone().unwrap_or_else(|| text(&known.last));
        let (until, provider) = (when(&known.down_until), text(&known.provider));
        vec![known.destination.clone(), known.state.clone(), known.waiting.to_string(), connections, until, provider, since, last]
    });
}

fn act(context: &Context, action: Action, chosen: Chosen, done: &str, would: &str) -> Result<()> {
    let Chosen { ids, all, filter, recipient } = chosen;
    let filtered = filter.to.is_some() || filter.from.is_some() || filter.rule.is_some();
    if ids.is_empty() && !all && !filtered {
        return Err(Failure::usage("which messages? Expected ids, --to, --from, --rule or --all"));
    }
    if matches!(action, Action::Bounce | Action::Drop) {
        let which = if ids.is_empty() { "every message that fits".to_owned() } else { ids.join(", ") };
        confirm(&format!("{would} {which}, for good?"), context.global.yes || context.global.dry_run)?;
    }
    let selection = Selection { ids, to: filter.to, from: filter.from, rule: filter.rule };
    let views = context.call(queue::Act { action, selection, recipient })?;
    if context.printer.format == Format::Table {
        context.printer.say(&format!("{} {}", context.did(done, would), plural(views.len() as u64, "message")));
    } else {
        list(context, &views);
    }
    Ok(())
}

fn list(context: &Context, messages: &[QueueView]) {
    let columns = [whole("id"), whole("from"), whole("to"), number("size"), whole("age"), number("tries"), whole("next")];
    context.printer.list_with_remarks(messages, &columns, "last", |message| {
        let waiting = message.recipients.iter().filter(|recipient| recipient.next.is_some());
        let soonest = waiting.clone().min_by(|a, b| a.next.cmp(&b.next));
        vec![
            message.id.clone(),
            if message.from.is_empty() { "<>".to_owned() } else { message.from.clone() },
            to(message),
            size(message.octets),
            ago(&message.accepted),
            waiting.clone().map(|recipient| recipient.attempts).max().unwrap_or(0).to_string(),
            if message.held { "held".to_owned() } else { soonest.and_then(|r| r.next.as_deref()).map(ago).unwrap_or_default() },
            soonest.and_then(|recipient| recipient.last.clone()).unwrap_or_default(),
        ]
    });
    if context.printer.format == Format::Table && !messages.is_empty() {
        context.printer.say(&format!("\n{}", plural(messages.len() as u64, "message")));
    }
}

fn to(message: &QueueView) -> String {
    match message.recipients.as_slice() {
        [] => String::new(),
        [only] => only.address.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.address, rest.len()),
    }
}

/// A moment in RFC 3339 as a person says it.
pub(super) fn ago(rfc3339: &str) -> String {
    let at = rfc3339.parse::<jiff::Timestamp>().map(|at| mail::Timestamp(at.as_millisecond()));
    at.map_or_else(|_| rfc3339.to_owned(), |at| relative(at, now()))
}

fn show(context: &Context, message: &QueueView) {
    let lines = [
        ("id", message.id.clone()),
        ("from", if message.from.is_empty() { "<>: a report".to_owned() } else { message.from.clone() }),
        ("size", size(message.octets)),
        ("accepted", format!("{} ({})", message.accepted, ago(&message.accepted))),
        ("expires", format!("{} ({})", message.expires, ago(&message.expires))),
        (
            "state",
            message.held_by.map_or_else(|| if message.held { "held" } else { "waiting" }.to_owned(), |rule| format!("held by rule {rule}")),
        ),
    ];
    context.printer.one(message, &lines);
    if context.printer.format == Format::Table {
        crate::output::print("");
        let columns = [whole("recipient"), words("state"), number("tries"), words("next"), words("why"), words("last")];
        let row = |r: &RecipientView| {
            let next = r.next.as_deref().map(ago).unwrap_or_default();
            let class = r.class.as_deref().and_then(mta::bounce_class::BounceClass::by_name);
            let why = class.map_or("", mta::bounce_class::BounceClass::words).to_owned();
            vec![r.address.clone(), r.state.clone(), r.attempts.to_string(), next, why, r.last.clone().unwrap_or_default()]
        };
        context.printer.list(&message.recipients, &columns, row);
    }
}
