//! What an administrator can have done: one function for each operation, whoever asks.
//!
//! The command line runs an [`Operation`] through the control socket of a running server
//! ([`link`]), or over the store itself if none runs; the same types and the same function serve
//! both. A web page for administrators will call them too.
//!
//! Invariants
//! - An operation that changes something is one store transaction: it is done as a whole or not at all. Only removing
//!   a user with much mail takes several.
//! - A dry run does everything but the commit.

pub mod alias;
pub mod ban;
pub mod destination;
pub mod detour;
pub mod dkim;
pub mod dmarc_report;
pub mod domain;
pub mod explain;
pub mod hold_rule;
pub mod link;
pub mod mailbox;
pub mod outbound;
pub mod outgoing;
pub mod policy;
pub mod pop3;
pub mod queue;
pub mod rejects;
pub mod service;
pub mod socket;
pub mod source;
pub mod store;
pub mod suppression;
pub mod tls_report;
pub mod token;
pub mod trace;
pub mod user;

use crate::failure::{Code, Failure, Result};
use ::store::{ReadTx, Store, WriteTx};
use mail::{Address, Domain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// Something an administrator can ask for. The value holds its arguments.
pub trait Operation: Serialize + DeserializeOwned + Send + 'static {
    /// Its name on the control socket; never changes.
    const NAME: &'static str;
    /// What is answered.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// Does it. May block: on the disk, and on deriving keys from passwords.
    ///
    /// # Errors
    /// Says what is wrong in words for the one who asked.
    fn run(self, on: &Admin) -> Result<Self::Answer>;
}

/// What operations work on.
#[derive(Clone)]
pub struct Admin {
    /// The mail.
    pub store: Store,
    /// The running server; none if the command line works on the store by itself.
    pub service: Option<Arc<dyn service::Service>>,
    /// Whether changes are only tried.
    pub dry_run: bool,
    /// The mail path's settings, unless a running server has newer ones.
    pub mail: Arc<mta::Settings>,
}

impl Admin {
    /// The mail path's settings: reports are made by them.
    pub fn mail(&self) -> Arc<mta::Settings> {
        self.service.as_ref().map_or_else(|| Arc::clone(&self.mail), |service| service.mail())
    }

    /// Reads in one transaction.
    ///
    /// # Errors
    /// What `f` says, and what the store says.
    pub fn read<T: Send + 'static>(&self, f: impl FnOnce(&ReadTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.store.read_blocking(move |tx| Ok(f(tx)))?
    }

    /// Changes in one transaction. A failure leaves nothing behind, and so does a dry run.
    ///
    /// # Errors
    /// What `f` says, and what the store says.
    pub fn change<T: Send + 'static>(&self, mut f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        let outcome = Arc::new(Mutex::new(None));
        let (slot, dry_run) = (Arc::clone(&outcome), self.dry_run);
        let committed = self.store.write_blocking(move |tx| {
            let result = f(tx);
            let keep = result.is_ok() && !dry_run;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            if keep { Ok(()) } else { Err(::store::Error::Invalid("taken back".to_owned())) }
        });
        let result = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, committed) {
            (Some(Ok(_)), Err(error)) if !dry_run => Err(error.into()),
            (Some(result), _) => result,
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(Failure::new(Code::Failed, "the store did not run the transaction")),
        }
    }
}

/// Runs the operation of a name with arguments in JSON: what the control socket receives.
///
/// # Errors
/// What the operation says, and unknown names and arguments.
pub fn perform(admin: &Admin, name: &str, arguments: Value) -> Result<Value> {
    macro_rules! dispatch {
        ($($operation:ty),* $(,)?) => {
            match name {
                $(<$operation>::NAME => run::<$operation>(admin, arguments),)*
                _ => Err(Failure::usage(format!("the server knows no operation {name:?}")).hint("is the command newer than the server?")),
            }
        };
    }
    dispatch!(
        domain::Add,
        domain::List,
        domain::Show,
        domain::CatchAll,
        domain::Remove, //
        detour::List,
        detour::Add,
        detour::End, //
        dkim::List,
        dkim::Rotate,
        dkim::Activate,
        dkim::Remove, //
        user::Add,
        user::List,
        user::Show,
        user::Set,
        user::SetPassword,
        user::Remove, //
        outgoing::Hold,
        alias::Add,
        alias::List,
        alias::Remove, //
        mailbox::Share,
        mailbox::List, //
        pop3::Show,
        pop3::Set,
        pop3::Uidls, //
        ban::Add,
        ban::List,
        ban::Remove, //
        outbound::List,
        outbound::Hold,
        outbound::Limit, //
        token::Add,
        token::List,
        token::Remove, //
        queue::List,
        queue::Show,
        queue::Act, //
        source::List,
        destination::List,
        destination::Suspend,
        destination::Resume, //
        hold_rule::List,
        hold_rule::Add,
        hold_rule::Remove, //
        rejects::List,
        rejects::Release, //
        suppression::List,
        suppression::Add,
        suppression::Remove, //
        trace::Trace,
        explain::Explain,
        explain::Try, //
        policy::Begin,
        policy::Look,
        dmarc_report::Summary,
        dmarc_report::Failures, //
        tls_report::List,
        store::Check,
        store::Stats,
        store::Reindex, //
        service::Status,
        service::Reload,
    )
}

fn run<O: Operation>(admin: &Admin, arguments: Value) -> Result<Value> {
    let operation: O = serde_json::from_value(arguments).map_err(|error| Failure::usage(format!("{}: {error}", O::NAME)))?;
    let answer = operation.run(admin)?;
    serde_json::to_value(answer).map_err(|error| Failure::failed("cannot write the answer", error))
}

/// An address, or a failure that names it.
pub(crate) fn address(text: &str) -> Result<Address> {
    Address::parse(text).map_err(|error| Failure::usage(format!("{text:?} is no mail address: {error}")))
}

/// A domain, or a failure that names it.
pub(crate) fn domain_name(text: &str) -> Result<Domain> {
    Domain::parse(text).map_err(|error| Failure::usage(format!("{text:?} is no domain: {error}")))
}
