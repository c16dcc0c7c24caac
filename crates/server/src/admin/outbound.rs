//! What users send: how much it was, what they may, and whether it is held.

use super::user::find;
use super::{Admin, Operation};
use crate::clock::now;
use crate::failure::Result;
use crate::output::rfc3339;
use ::store::{Account, HOURS_KEPT, ReadTx, Sending, SendingLimits, hour};
use mta::outbound::{self, History};
use serde::{Deserialize, Serialize};

/// What a user sends, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundView {
    /// Who.
    pub user: String,
    /// Messages within the last hour.
    pub messages_hour: u32,
    /// Messages within the last day.
    pub messages_day: u32,
    /// Recipients within the last hour.
    pub recipients_hour: u32,
    /// Recipients within the last day.
    pub recipients_day: u32,
    /// Of them, those that the user had never written to.
    pub new_recipients_day: u32,
    /// Recipients within the last day that could not be reached.
    pub failed_day: u32,
    /// Most recipients in one hour of the two weeks before.
    pub busiest_hour: u32,
    /// What the user may send; 0 is no limit.
    pub limits: LimitsView,
    /// Since when mail to other servers is kept, RFC 3339; null: it is not.
    pub held_since: Option<String>,
    /// Why it is kept.
    pub reason: String,
    /// Until when nothing is taken for unusual, RFC 3339.
    pub approved_until: Option<String>,
}

/// What a user may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsView {
    /// Messages within an hour.
    pub messages_per_hour: u32,
    /// Messages within a day.
    pub messages_per_day: u32,
    /// Recipients within an hour.
    pub recipients_per_hour: u32,
    /// Recipients within a day.
    pub recipients_per_day: u32,
    /// Recipients within a day that the user never wrote to before.
    pub new_recipients_per_day: u32,
    /// Whether any of them is the user's own.
    pub own: bool,
}

fn view(tx: &ReadTx, account: &Account, settings: outbound::Outbound) -> Result<OutboundView> {
    let now = now();
    let Sending { limits, held, reason, approved_until } = tx.sending(account.id)?;
    let history = History::of(&tx.traffic(account.id, hour(now).saturating_sub(HOURS_KEPT))?, now);
    let may = settings.of(limits);
    Ok(OutboundView {
        user: account.address.to_string(),
        messages_hour: history.last_hour.messages,
        messages_day: history.last_day.messages,
        recipients_hour: history.last_hour.recipients,
        recipients_day: history.last_day.recipients,
        new_recipients_day: history.last_day.strangers,
        failed_day: history.last_day.failed,
        busiest_hour: history.busiest_hour,
        limits: LimitsView {
            messages_per_hour: may.messages_per_hour,
            messages_per_day: may.messages_per_day,
            recipients_per_hour: may.recipients_per_hour,
            recipients_per_day: may.recipients_per_day,
            new_recipients_per_day: may.strangers_per_day,
            own: limits != SendingLimits::default(),
        },
        held_since: held.map(rfc3339),
        reason,
        approved_until: approved_until.filter(|until| now < *until).map(rfc3339),
    })
}

/// What users send.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Only this user; nothing: all of whom there is something to say.
    pub address: Option<String>,
}

impl Operation for List {
    const NAME: &'static str = "outbound.list";
    type Answer = Vec<OutboundView>;

    fn run(self, on: &Admin) -> Result<Vec<OutboundView>> {
        let settings = on.mail().outbound;
        on.read(move |tx| {
            if let Some(address) = &self.address {
                return Ok(vec![view(tx, &find(tx, address)?, settings)?]);
            }
            let mut views = tx.accounts()?.iter().map(|account| view(tx, account, settings)).collect::<Result<Vec<_>>>()?;
            views.retain(|view| view.recipients_day > 0 || view.held_since.is_some() || view.limits.own);
            views.sort_by_key(|view| (view.held_since.is_none(), std::cmp::Reverse(view.recipients_day)));
            Ok(views)
        })
    }
}

/// Keeps what a user sends to other servers, or lets it go.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub address: String,
    /// Why it is kept; nothing: it is released, with all that was kept.
    pub reason: Option<String>,
}

/// What a hold or release did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How the user's sending is now.
    #[serde(flatten)]
    pub view: OutboundView,
    /// Messages that were released.
    pub released: usize,
}

impl Operation for Hold {
    const NAME: &'static str = "outbound.hold";
    type Answer = Held;

    fn run(self, on: &Admin) -> Result<Held> {
        let (settings, now) = (on.mail(), now());
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            let released = match &self.reason {
                Some(reason) => outbound::hold(tx, account.id, reason, now, &settings).map(|()| 0)?,
                None => outbound::release(tx, account.id, now)?,
            };
            Ok(Held { view: view(tx, &account, settings.outbound)?, released })
        })
    }
}

/// Gives a user limits of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Limit {
    /// Who.
    pub address: String,
    /// Messages within an hour; nothing: as before.
    pub messages_per_hour: Option<u32>,
    /// Messages within a day.
    pub messages_per_day: Option<u32>,
    /// Recipients within an hour.
    pub recipients_per_hour: Option<u32>,
    /// Recipients within a day.
    pub recipients_per_day: Option<u32>,
    /// Recipients within a day that the user never wrote to before.
    pub new_recipients_per_day: Option<u32>,
    /// First back to what is set for all.
    pub reset: bool,
}

impl Operation for Limit {
    const NAME: &'static str = "outbound.limit";
    type Answer = OutboundView;

    fn run(self, on: &Admin) -> Result<OutboundView> {
        let settings = on.mail().outbound;
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            let mut sending = tx.sending(account.id)?;
            let before = if self.reset { SendingLimits::default() } else { sending.limits };
            sending.limits = SendingLimits {
                messages_per_hour: self.messages_per_hour.or(before.messages_per_hour),
                messages_per_day: self.messages_per_day.or(before.messages_per_day),
                recipients_per_hour: self.recipients_per_hour.or(before.recipients_per_hour),
                recipients_per_day: self.recipients_per_day.or(before.recipients_per_day),
                strangers_per_day: self.new_recipients_per_day.or(before.strangers_per_day),
            };
            tx.sending_set(account.id, &sending)?;
            view(tx, &account, settings)
        })
    }
}
