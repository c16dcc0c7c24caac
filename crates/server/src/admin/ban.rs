//! Bans: networks whose connections are not taken.

use super::{Admin, Operation};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use ::store::{Ban, BanScope};
use mail::Network;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A ban as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// Which addresses.
    pub network: String,
    /// `sign-in`: where users sign in; `everything`: at all ports.
    pub scope: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Until when, RFC 3339; null: until it is taken back.
    pub until: Option<String>,
    /// Whether it holds now; one that is over makes the next longer.
    pub holds: bool,
    /// How many bans the network has earned in a row; 0: made by hand.
    pub times: u32,
    /// Why.
    pub reason: String,
}

impl BanView {
    fn new(ban: &Ban) -> Self {
        let scope = match ban.scope {
            BanScope::SignIn => "sign-in",
            BanScope::Everything => "everything",
        };
        Self {
            network: shown(&ban.network),
            scope: scope.to_owned(),
            since: rfc3339(ban.since),
            until: ban.until.map(rfc3339),
            holds: ban.holds(now()),
            times: ban.times,
            reason: ban.reason.clone(),
        }
    }
}

/// A single address without its prefix.
fn shown(network: &Network) -> String {
    let base = network.base();
    if Network::of(base) == *network { base.to_string() } else { network.to_string() }
}

fn network(text: &str) -> Result<Network> {
    text.parse().map_err(|error| Failure::usage(format!("{text:?} is no network: {error}")))
}

/// The bans.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Those that are over, too.
    pub all: bool,
}

impl Operation for List {
    const NAME: &'static str = "ban.list";
    type Answer = Vec<BanView>;

    fn run(self, on: &Admin) -> Result<Vec<BanView>> {
        on.read(move |tx| Ok(tx.bans()?.iter().filter(|ban| self.all || ban.holds(now())).map(BanView::new).collect()))
    }
}

/// Bans a network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// An address or a network.
    pub network: String,
    /// For how long, seconds; nothing: until it is taken back.
    pub seconds: Option<u64>,
    /// Only where users sign in.
    pub sign_in_only: bool,
    /// Why, for people.
    pub reason: String,
}

impl Operation for Add {
    const NAME: &'static str = "ban.add";
    type Answer = BanView;

    fn run(self, on: &Admin) -> Result<BanView> {
        let (network, now) = (network(&self.network)?, now());
        let scope = if self.sign_in_only { BanScope::SignIn } else { BanScope::Everything };
        let until = self.seconds.map(|seconds| now.after(Duration::from_secs(seconds)));
        let ban = Ban { network, scope, since: now, until, reason: self.reason, times: 0 };
        let view = BanView::new(&ban);
        on.change(move |tx| Ok(tx.ban_set(&ban, now)?))?;
        tell(on);
        Ok(view)
    }
}

/// Takes a ban back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// The address or network as it was banned.
    pub network: String,
}

impl Operation for Remove {
    const NAME: &'static str = "ban.remove";
    type Answer = ();

    fn run(self, on: &Admin) -> Result<()> {
        let network = network(&self.network)?;
        on.change(move |tx| {
            let gone = tx.ban_remove(&network);
            gone.map_err(|_| Failure::not_found("ban of", shown(&network)).hint("postrider ban list --all shows them"))
        })?;
        tell(on);
        Ok(())
    }
}

/// The running server has the bans in memory.
fn tell(on: &Admin) {
    if let (false, Some(service)) = (on.dry_run, &on.service) {
        service.bans_changed();
    }
}
