//! Asks programs outside about mail that comes in: milters, and web servers that speak MTA hooks.
//!
//! ```text
//! Connect ─▶ Helo ─▶ Mail ─▶ Rcpt … ─▶ message ─▶ Mail …
//!    each is told to every adviser in the order of the settings; the first that refuses decides
//!    message: each sees what those before it made of the message
//! ```
//!
//! Not how they are spoken to (`milter`, `link`, `hook`), and not what becomes of the message (`receive`).
//!
//! | an adviser that cannot be asked | what happens |
//! |---|---|
//! | [`OnFailure::Defer`] | MAIL, RCPT or the message hears 451 4.7.1: it comes again |
//! | [`OnFailure::Reject`] | the same with 554 5.7.1 |
//! | [`OnFailure::Accept`] | the message goes on without its advice; the trail says so |
//!
//! Invariants
//! - No message is lost for want of an adviser: unless the settings say otherwise it is refused for now.
//! - An adviser that failed is tried again with the next transaction, over a new connection.
//! - Whatever an adviser says or fails to say of a message that is taken stands in its trail.

mod hook;
mod known;
mod link;

pub use milter::Limits;

pub(crate) use known::Known;
pub(crate) use link::Shown;

use crate::counters::Counters;
use crate::receive::Context;
use link::Link;
use mail::Event;
use milter::session::{Content, Heard, Order, Step};
use milter::{Advice, Decision, Message, Modification};
use net::Endpoint;
use net::web::Web;
use smtp::Reply;
use smtp::server::Role;
use std::sync::Arc;
use std::time::Duration;

/// Most changes of one adviser that the trail tells of.
const CHANGES_TOLD_MAX: usize = 50;

/// A program outside that is asked about mail.
#[derive(Debug, Clone)]
pub struct Adviser {
    /// Its name in logs and trails.
    pub name: String,
    /// How it is spoken to.
    pub kind: Kind,
    /// Whose mail it is asked about.
    pub roles: Vec<Role>,
    /// What happens when it cannot be asked.
    pub on_failure: OnFailure,
    /// How long connecting to it may take.
    pub connect_max: Duration,
    /// What it may say, and how long it may take.
    pub limits: Limits,
    /// Larger messages, octets, are not shown to it; they go on without its advice.
    pub message_octets_max: u64,
}

/// How an adviser is spoken to.
#[derive(Debug, Clone)]
pub enum Kind {
    /// By the milter protocol. It says itself of which stages it wants to hear.
    Milter(Endpoint),
    /// By MTA hooks.
    Hook {
        /// Where.
        web: Web,
        /// Of which stages it hears.
        stages: Vec<HookStage>,
    },
}

/// A stage that a hook can hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the stages are SMTP's")]
pub enum HookStage {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
}

/// What happens when an adviser cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The mail is refused for now.
    #[default]
    Defer,
    /// The mail is refused for good.
    Reject,
    /// The mail goes on without its advice.
    Accept,
}

/// What is to become of a message that no adviser refused.
#[derive(Debug, Default)]
pub(crate) struct Advised {
    /// What each said, for the trail.
    pub(crate) events: Vec<Event>,
    /// Who wants it thrown away.
    pub(crate) discarded_by: Option<String>,
    /// One of them marked it as spam.
    pub(crate) is_junk: bool,
}

/// A message that an adviser refused, or that is not taken without its advice.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What the peer hears.
    pub(crate) reply: Reply,
    /// What each said until then, for the trail.
    pub(crate) events: Vec<Event>,
}

/// The advisers of one SMTP connection.
pub(crate) struct Advisers {
    context: Arc<Context>,
    each: Vec<One>,
}

/// One adviser and where we are with it.
struct One {
    adviser: Arc<Adviser>,
    connection: Connection,
    turn: Turn,
}

/// Where we are with a milter.
enum Connection {
    /// There is none yet, or it broke.
    Closed,
    Open(Link),
    /// It wants to hear no more of this client.
    Content,
}

/// Where we are with the transaction.
enum Turn {
    /// It is asked.
    Asked,
    /// It has decided at a stage, which goes into the trail.
    Over(&'static str, Decision),
    /// It could not be asked, and need not be.
    Absent(String),
}

impl Advisers {
    /// The advisers for connections of this role.
    pub(crate) fn new(context: &Arc<Context>, role: Role) -> Self {
        let of_role = context.settings.receive.advisers.iter().filter(|adviser| adviser.roles.contains(&role));
        let one = |adviser: &Arc<Adviser>| One { adviser: Arc::clone(adviser), connection: Connection::Closed, turn: Turn::Asked };
        Self { context: Arc::clone(context), each: of_role.map(one).collect() }
    }

    /// Nobody is asked.
    pub(crate) fn none(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), each: Vec::new() }
    }

    /// Whom they are.
    pub(crate) fn names(&self) -> Vec<String> {
        self.each.iter().map(|one| one.adviser.name.clone()).collect()
    }

    /// Nobody is to be asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// A client has connected; a reply instead of the greeting.
    pub(crate) async fn connect(&mut self, known: &Known) -> Option<Reply> {
        self.greeted(known, known.connect(), HookStage::Connect).await
    }

    /// It said who it is; a reply instead of the welcome.
    pub(crate) async fn helo(&mut self, known: &Known) -> Option<Reply> {
        self.greeted(known, known.helo(), HookStage::Helo).await
    }

    /// Whoever cannot be asked before MAIL is asked again there.
    async fn greeted(&mut self, known: &Known, step: Step, stage: HookStage) -> Option<Reply> {
        for one in &mut self.each {
            match one.greeted(&self.context, known, &step, stage).await {
                Ok(Decision::Accept) => one.connection = Connection::Content,
                Ok(decision) => {
                    if let Some(reply) = refusal(&decision) {
                        tracing::info!(adviser = one.adviser.name, %reply, "an adviser refuses a client");
                        return Some(reply);
                    }
                }
                Err(why) => one.broke(&self.context, &why),
            }
        }
        None
    }

    /// A transaction begins; a reply instead of 250.
    pub(crate) async fn mail(&mut self, known: &Known) -> Option<Reply> {
        for one in &mut self.each {
            let asked = one.mail(&self.context, known).await;
            if let Some(reply) = one.envelope(&self.context, "MAIL", asked) {
                return Some(reply);
            }
        }
        None
    }

    /// A recipient: the last that is known, which we refused already or not; a reply instead of 250.
    pub(crate) async fn rcpt(&mut self, known: &Known, refused: bool) -> Option<Reply> {
        for one in &mut self.each {
            if !matches!(one.turn, Turn::Asked) || (refused && matches!(one.adviser.kind, Kind::Hook { .. })) {
                continue;
            }
            let asked = one.ask(known, known.rcpt(refused), HookStage::Rcpt).await;
            let said = if refused { asked.map(|_| Decision::Continue) } else { asked };
            if let Some(reply) = one.envelope(&self.context, "RCPT", said) {
                return Some(reply);
            }
        }
        None
    }

    /// The whole message: each adviser sees what those before it made of it.
    pub(crate) async fn message(&mut self, known: &Known, message: &mut Message, mut body: Shown) -> Result<Advised, Refusal> {
        let mut advised = Advised::default();
        for one in &mut self.each {
            if let Some(event) = one.already(message, &body) {
                advised.events.push(event);
                continue;
            }
            let begun = self.context.clock.now();
            let asked = one.message(known, message, &body).await;
            let millis = u64::try_from(self.context.clock.now().saturating_duration_since(begun).as_millis()).unwrap_or(u64::MAX);
            let Advice { decision, modifications } = match asked {
                Ok(advice) => advice,
                Err(why) => {
                    one.broke(&self.context, &why);
                    let told = one.event("none", vec![why.clone()], millis);
                    advised.events.push(told);
                    match one.failed(why) {
                        Ok(()) => continue,
                        Err(reply) => return Err(Refusal { reply, events: advised.events }),
                    }
                }
            };
            if let Some(reply) = refusal(&decision) {
                tracing::info!(adviser = one.adviser.name, %reply, "an adviser refuses a message");
                advised.events.push(one.event(decision.word(), Vec::new(), millis));
                return Err(Refusal { reply, events: advised.events });
            }
            advised.is_junk |= modifications.iter().any(marks_junk);
            let changes = modifications.iter().map(|one| changed(message, one)).collect();
            advised.events.push(one.event(word(&decision, message), changes, millis));
            if let Some(replaced) = &message.body {
                body = Shown::Memory(replaced.as_slice().into());
            }
            if decision == Decision::Discard {
                advised.discarded_by = Some(one.adviser.name.clone());
                break;
            }
        }
        let discarding = || self.each.iter().find(|one| matches!(one.turn, Turn::Over(_, Decision::Discard)));
        advised.discarded_by = advised.discarded_by.or_else(|| discarding().map(|one| one.adviser.name.clone()));
        Ok(advised)
    }
}

impl One {
    async fn greeted(&mut self, context: &Context, known: &Known, step: &Step, stage: HookStage) -> Result<Decision, String> {
        match (&self.adviser.kind, &self.connection) {
            (_, Connection::Content) => Ok(Decision::Continue),
            (Kind::Milter(_), Connection::Closed) => self.open(context, known, matches!(step, Step::Helo(_))).await,
            _ => self.ask(known, step.clone(), stage).await,
        }
    }

    /// Connects to a milter and tells it what happened before MAIL.
    async fn open(&mut self, context: &Context, known: &Known, after_helo: bool) -> Result<Decision, String> {
        let Kind::Milter(endpoint) = &self.adviser.kind else { return Ok(Decision::Continue) };
        let link = Link::open(endpoint, &self.adviser, &context.clock).await?;
        self.connection = Connection::Open(link);
        let decision = self.ask(known, known.connect(), HookStage::Connect).await?;
        if decision != Decision::Continue || !after_helo {
            return Ok(decision);
        }
        self.ask(known, known.helo(), HookStage::Helo).await
    }

    async fn mail(&mut self, context: &Context, known: &Known) -> Result<Decision, String> {
        self.turn = Turn::Asked;
        if matches!(self.connection, Connection::Content) {
            return Ok(Decision::Accept);
        }
        if let Connection::Open(_) = self.connection {
            match self.ask(known, known.mail(), HookStage::Mail).await {
                // It may have grown tired of waiting for another transaction.
                Err(why) => tracing::debug!(adviser = self.adviser.name, why, "the connection to an adviser is made anew"),
                said => return said,
            }
        }
        if matches!(self.adviser.kind, Kind::Milter(_)) {
            match self.open(context, known, true).await? {
                Decision::Continue => {}
                Decision::Accept => {
                    self.connection = Connection::Content;
                    return Ok(Decision::Accept);
                }
                refused => return Ok(refused),
            }
        }
        self.ask(known, known.mail(), HookStage::Mail).await
    }

    /// What follows from what it said about MAIL or RCPT.
    fn envelope(&mut self, context: &Context, stage: &'static str, asked: Result<Decision, String>) -> Option<Reply> {
        let decision = match asked {
            Ok(decision) => decision,
            Err(why) => {
                self.broke(context, &why);
                return self.failed(why).err();
            }
        };
        if let Some(reply) = refusal(&decision) {
            tracing::info!(adviser = self.adviser.name, %reply, stage, "an adviser refuses");
            return Some(reply);
        }
        if matches!(decision, Decision::Accept | Decision::Discard) {
            self.turn = Turn::Over(stage, decision);
        }
        None
    }

    /// Tells it of a stage of the envelope.
    async fn ask(&mut self, known: &Known, step: Step, stage: HookStage) -> Result<Decision, String> {
        match (&self.adviser.kind, &mut self.connection) {
            (Kind::Hook { web, stages }, _) if stages.contains(&stage) => {
                let request = hook::request(known, stage, None);
                hook::ask(web, &request, false, &self.adviser.limits).await.map(|advice| advice.decision)
            }
            (Kind::Hook { .. }, _) | (_, Connection::Content) => Ok(Decision::Continue),
            (Kind::Milter(_), Connection::Closed) => Err("there is no connection".to_owned()),
            (Kind::Milter(_), Connection::Open(link)) => {
                let order = Order { step, symbols: known.symbols() };
                match link.ask(order, Shown::Memory(Vec::new().into())).await {
                    Heard::Advice(advice) => Ok(advice.decision),
                    Heard::Ready => Ok(Decision::Continue),
                    Heard::Failed(why) => {
                        self.connection = Connection::Closed;
                        Err(why)
                    }
                }
            }
        }
    }

    /// What is known of its advice without showing it the message.
    fn already(&self, message: &Message, body: &Shown) -> Option<Event> {
        match &self.turn {
            Turn::Over(stage, decision) => return Some(self.event(decision.word(), vec![format!("at {stage}")], 0)),
            Turn::Absent(why) => return Some(self.event("none", vec![why.clone()], 0)),
            Turn::Asked => {}
        }
        if let Kind::Hook { stages, .. } = &self.adviser.kind
            && !stages.contains(&HookStage::Data)
        {
            return Some(self.event("continue", vec!["at MAIL and RCPT".to_owned()], 0));
        }
        let octets = message.header.bytes().len() as u64 + body.octets();
        let too_large = octets > self.adviser.message_octets_max;
        too_large.then(|| self.event("none", vec![format!("it is larger than {} octets", self.adviser.message_octets_max)], 0))
    }

    async fn message(&mut self, known: &Known, message: &Message, body: &Shown) -> Result<Advice, String> {
        let link = match (&self.adviser.kind, &mut self.connection) {
            (Kind::Hook { web, .. }, _) => {
                let content = hook::content(message, body)?;
                let request = hook::request(known, HookStage::Data, Some(content));
                return hook::ask(web, &request, true, &self.adviser.limits).await;
            }
            (Kind::Milter(_), Connection::Open(link)) => link,
            (Kind::Milter(_), _) => return Err("there is no connection".to_owned()),
        };
        let fields = message.header.seen().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let order = Order { step: Step::Message(Arc::new(Content { fields })), symbols: known.symbols() };
        match link.ask(order, body.clone()).await {
            Heard::Advice(advice) => Ok(advice),
            Heard::Ready => Err("it lost its way".to_owned()),
            Heard::Failed(why) => {
                self.connection = Connection::Closed;
                Err(why)
            }
        }
    }

    /// It could not be asked: counted and logged.
    fn broke(&mut self, context: &Context, why: &str) {
        if matches!(self.connection, Connection::Open(_)) {
            self.connection = Connection::Closed;
        }
        Counters::count(&context.counters.advisers_failed);
        tracing::warn!(adviser = self.adviser.name, why, "an adviser cannot be asked");
    }

    /// What happens without it.
    fn failed(&mut self, why: String) -> Result<(), Reply> {
        match self.adviser.on_failure {
            OnFailure::Defer => Err(Reply::new(451, (4, 7, 1), "Mail cannot be checked now; try again later")),
            OnFailure::Reject => Err(Reply::new(554, (5, 7, 1), "Mail cannot be checked")),
            OnFailure::Accept => {
                self.turn = Turn::Absent(why);
                Ok(())
            }
        }
    }

    fn event(&self, decision: &str, mut changes: Vec<String>, millis: u64) -> Event {
        if changes.len() > CHANGES_TOLD_MAX {
            let rest = changes.len() - CHANGES_TOLD_MAX;
            changes.truncate(CHANGES_TOLD_MAX);
            changes.push(format!("and {rest} more"));
        }
        Event::Advised { by: self.adviser.name.clone(), decision: decision.to_owned(), changes, millis }
    }
}

/// Whether a change marks a message as spam, as Rspamd's milter does by `X-Spam: Yes` and others by `X-Spam-Flag: YES`.
fn marks_junk(modification: &Modification) -> bool {
    let (Modification::AddHeader { name, value }
    | Modification::InsertHeader { name, value, .. }
    | Modification::ChangeHeader { name, value, .. }) = modification
    else {
        return false;
    };
    ["X-Spam", "X-Spam-Flag"].iter().any(|mark| name.eq_ignore_ascii_case(mark)) && value.trim_ascii().eq_ignore_ascii_case(b"yes")
}

/// Makes one change and says so.
fn changed(message: &mut Message, modification: &Modification) -> String {
    match message.apply(modification) {
        Ok(()) => modification.to_string(),
        Err(refused) => format!("{modification} (not done: {})", refused.words()),
    }
}

/// The decision about a message that was not refused, in one word.
const fn word(decision: &Decision, message: &Message) -> &'static str {
    match decision {
        Decision::Discard => "discard",
        _ if message.quarantine.is_some() => "quarantine",
        _ => "accept",
    }
}

/// What a peer hears, if it is refused.
fn refusal(decision: &Decision) -> Option<Reply> {
    let own = |reply: &milter::Reply, class: u8| {
        let status = reply.status.map_or((class, 7, 1), |status| (status.class, status.subject, status.detail));
        Reply::new(reply.code, status, reply.text.clone())
    };
    match decision {
        Decision::Continue | Decision::Accept | Decision::Discard => None,
        Decision::Reject(Some(reply)) => Some(own(reply, 5)),
        Decision::Defer(Some(reply)) => Some(own(reply, 4)),
        Decision::Reject(None) => Some(Reply::new(550, (5, 7, 1), "Refused by policy")),
        Decision::Defer(None) => Some(Reply::new(451, (4, 7, 1), "Try again later")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_spam_are_known() {
        let add = |name: &str, value: &str| Modification::AddHeader { name: name.to_owned(), value: value.as_bytes().to_vec() };
        for (name, value, want) in
            [("X-Spam", " Yes", true), ("x-spam-flag", " YES", true), ("X-Spam", " No", false), ("X-Spam-Status", " Yes", false)]
        {
            assert_eq!(marks_junk(&add(name, value)), want, "{name}:{value}");
        }
    }

    #[test]
    fn refusals_have_a_reply() {
        let reply = |text| milter::Reply::parse(text);
        for (decision, want) in [
            (Decision::Continue, None),
            (Decision::Accept, None),
            (Decision::Discard, None),
            (Decision::Reject(None), Some("550 5.7.1 Refused by policy")),
            (Decision::Defer(None), Some("451 4.7.1 Try again later")),
            (Decision::Reject(reply("554 5.6.0 A virus")), Some("554 5.6.0 A virus")),
            (Decision::Reject(reply("554 A virus")), Some("554 5.7.1 A virus")),
            (Decision::Defer(reply("450 Greylisted")), Some("450 4.7.1 Greylisted")),
        ] {
            assert_eq!(refusal(&decision).map(|reply| reply.to_string()).as_deref(), want, "{decision:?}");
        }
    }
}
