//! Answers an IMAP session's questions from the store.
//!
//! Not the protocol: the session has that. Not the commands either: each is done in its own file of
//! `commands`, with the means offered here.
//!
//! Invariants
//! - No transaction is open while octets wait for the peer: a long answer is a row of short reads.
//! - The client's view ([`Selected`]) is replaced only by what came with the octets that tell it.
//! - Every await can be dropped: what must happen is inside one store write.

use crate::imap::command::{Command, State};
use crate::imap::commands::append::Upload;
use crate::imap::commands::enable::Enabled;
use crate::imap::commands::notify::Notify;
use crate::imap::commands::status::Teller;
use crate::imap::commands::{esearch, expunge, fetch, metadata, search, store as store_flags, unauthenticate};
use crate::imap::limits::{Config, Limits};
use crate::imap::notifying::Notifying;
use crate::imap::recent::Recents;
use crate::imap::response::{self, Status};
use crate::imap::selected::{Look, News, Selected, flags_defined};
use crate::imap::session::{Answer, Ask, Done, Push, Session};
use mail::{AccountId, MailboxId, ModSeq, Rights, Timestamp};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use store::auth::{Authenticator, SignIn};
use store::{Error, OTHERS, ReadTx, Store, Subscription, WriteTx};
use wire::Handler;
use wire::sasl::{SaslAnswer, SaslAsk};

/// Changes of the account up to which catching up is a short read.
const SHORT_NEWS_MAX: u64 = 32;

/// What tells the time of day; the crate has no clock of its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all IMAP connections share.
pub struct Shared {
    /// The store.
    pub store: Store,
    /// Who may log in.
    pub authenticator: Authenticator,
    /// The settings.
    pub config: Arc<Config>,
    clock: Clock,
    pub(crate) recents: Recents,
}

impl Shared {
    /// Everything that connections share.
    pub fn new(store: Store, authenticator: Authenticator, config: Arc<Config>, clock: Clock) -> Self {
        let recents = Recents::since(clock());
        Self { store, authenticator, config, clock, recents }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Answers one connection.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    peer: IpAddr,
    /// While somebody signs in.
    sign_in: Option<Box<SignIn>>,
    account: AccountId,
    enabled: Enabled,
    selected: Option<Arc<Selected>>,
    job: Option<Job>,
    upload: Option<Box<Upload>>,
    /// In IDLE and with NOTIFY: what wakes us.
    watch: Option<Watch>,
    /// NOTIFY was said.
    notify: Option<Box<Notifying>>,
    /// What was gathered for the client and is not handed over yet.
    undelivered: Vec<u8>,
    /// Up to which change of its account the client was told of annotations, if it wants to be.
    annotations_told: ModSeq,
}

/// IDLE on a selected mailbox, or NOTIFY.
#[derive(Debug)]
struct Watch {
    subscription: Subscription,
    /// The account of the selected mailbox, where it is another's.
    of_selected: Option<Box<Subscription>>,
    /// Something changed that was not looked at yet.
    stale: bool,
    /// IDLE: messages may be taken back.
    idle: bool,
}

impl Watch {
    /// Resolves once something changed. Cancel-safe.
    async fn changed(&mut self) {
        match &mut self.of_selected {
            None => {
                self.subscription.changed().await;
            }
            // Boxed, because hardly anybody is here.
            Some(other) => Box::pin(either(&mut self.subscription, other)).await,
        }
    }
}

async fn either(one: &mut Subscription, other: &mut Subscription) {
    let (mut one, mut other) = (pin!(one.changed()), pin!(other.changed()));
    poll_fn(|context| match (one.as_mut().poll(context), other.as_mut().poll(context)) {
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;
}

/// A command whose answer takes more than one step.
#[derive(Debug)]
pub(crate) enum Job {
    Find(Box<search::Job>),
    ESearch(Box<esearch::Job>),
    Fetch(Box<fetch::Job>),
    Store(Box<store_flags::Job>),
    Expunge(Box<expunge::Job>),
}

/// What a step of a command comes to; the error is its tagged reply.
pub(crate) type Outcome = Result<Answer, Status>;

impl Server {
    /// Answers a connection from `peer`.
    pub const fn new(shared: Arc<Shared>, peer: IpAddr) -> Self {
        Self {
            shared,
            peer,
            sign_in: None,
            account: AccountId(0),
            enabled: Enabled::NOTHING,
            selected: None,
            job: None,
            upload: None,
            watch: None,
            notify: None,
            undelivered: Vec::new(),
            annotations_told: ModSeq(0),
        }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    pub(crate) const fn account(&self) -> AccountId {
        self.account
    }

    pub(crate) const fn enabled(&self) -> Enabled {
        self.enabled
    }

    pub(crate) const fn enabled_mut(&mut self) -> &mut Enabled {
        &mut self.enabled
    }

    /// The selected mailbox; the session lets no command through that needs one without it.
    pub(crate) fn selected(&self) -> Result<Arc<Selected>, Status> {
        self.selected.clone().ok_or_else(|| Status::bad("Select a mailbox first"))
    }

    /// The same, if the client may do this with it and has not selected it to read only.
    pub(crate) fn selected_for_change(&self, needed: Rights) -> Result<Arc<Selected>, Status> {
        let selected = self.selected()?;
        match selected.rights.contains(needed) {
            false => Err(refusal(&Error::Denied)),
            true if selected.read_only => Err(Status::no("READ-ONLY", "The mailbox is selected read-only")),
            true => Ok(selected),
        }
    }

    /// Whose mailbox is selected; the client itself if none is.
    pub(crate) fn watched(&self) -> AccountId {
        self.selected.as_ref().map_or(self.account, |selected| selected.account)
    }

    /// Looks again at what the client may do with another's mailbox; what it must be told of it.
    pub(crate) fn rights_again(&mut self) -> Result<Vec<u8>, Status> {
        let mut data = Vec::new();
        let Some(selected) = self.selected.as_ref().filter(|selected| selected.account != self.account) else { return Ok(data) };
        let (viewer, owner, mailbox, seen) = (self.account, selected.account, selected.mailbox, selected.seen);
        let found = self.shared.store.read_short(|tx| {
            // Whatever changes rights changes the owner's ModSeq.
            if tx.mod_seq(owner)? == seen {
                return Ok(None);
            }
            Ok(Some((tx.rights(viewer, owner, mailbox)?, tx.mailbox_keywords(owner, mailbox)?)))
        });
        match found {
            Ok(Some((rights, _))) if !rights.contains(Rights::READ) => return Err(no_longer()),
            Ok(Some((rights, keywords))) if rights != selected.rights => {
                flags_defined(&mut data, &keywords, if selected.read_only { Rights::NONE } else { rights });
                self.revise(|selected| selected.rights = rights);
            }
            Ok(_) => {}
            Err(Error::NotFound(_)) => return Err(no_longer()),
            Err(error) => return Err(refusal(&error)),
        }
        Ok(data)
    }

    /// From now on the client is told of annotations that others change.
    pub(crate) fn annotations_from_now(&mut self) -> Result<(), Status> {
        let account = self.account;
        self.annotations_told = self.read_short(|tx| tx.mod_seq(account))?;
        Ok(())
    }

    /// The client itself has changed annotations: it is not told of that.
    pub(crate) fn annotated(&mut self, before: ModSeq, now: ModSeq) {
        if self.annotations_told == before {
            self.annotations_told = now;
        }
    }

    fn annotation_news(&mut self) -> Result<Vec<u8>, Status> {
        let mut data = Vec::new();
        if !self.enabled.metadata {
            return Ok(data);
        }
        let (account, since, utf8) = (self.account, self.annotations_told, self.enabled.utf8());
        self.annotations_told = self.read_short(|tx| {
            let now = tx.mod_seq(account)?;
            if now > since {
                metadata::changed(&mut data, tx, account, &tx.list_changes(account, since)?.annotations, utf8)?;
            }
            Ok(now)
        })?;
        Ok(data)
    }

    /// Selects a mailbox, or none; the one before.
    pub(crate) fn select(&mut self, selected: Option<Selected>) -> Option<Arc<Selected>> {
        let before = std::mem::replace(&mut self.selected, selected.map(Arc::new));
        self.watch_selected();
        before
    }

    /// Has whoever watches also woken by what others do in their own mailbox, if that is selected.
    fn watch_selected(&mut self) {
        let (account, watched) = (self.account, self.watched());
        if let Some(watch) = &mut self.watch {
            watch.of_selected = (watched != account).then(|| Box::new(self.shared.store.subscribe(watched)));
        }
    }

    /// The selected mailbox if it is one of the client's own.
    fn selected_of_own(&self) -> Option<MailboxId> {
        self.selected.as_ref().filter(|selected| selected.account == self.account).map(|selected| selected.mailbox)
    }

    /// Is as at the start of the connection.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.shared.clone(), self.peer);
    }

    /// Changes the view without a word to the client (`$`).
    pub(crate) fn revise(&mut self, change: impl FnOnce(&mut Selected)) {
        if let Some(selected) = &mut self.selected {
            change(Arc::make_mut(selected));
        }
    }

    pub(crate) const fn upload_mut(&mut self) -> &mut Option<Box<Upload>> {
        &mut self.upload
    }

    pub(crate) fn look(&self, expunges: bool, by_uid: bool) -> Look {
        let Limits { context_changes_max, notify_messages_max, .. } = self.shared.config.limits;
        let wishes = self.notify.as_ref().map(|notify| {
            let mut wishes = notify.wishes();
            if self.watched() != self.account {
                // They are numbers of the client's own account.
                wishes.own.clear();
            }
            Arc::new(wishes)
        });
        Look {
            account: self.watched(),
            enabled: self.enabled,
            expunges,
            by_uid,
            context_changes_max,
            notify_messages_max,
            takes_away: false,
            wishes,
        }
    }

    pub(crate) async fn read<T: Send + 'static>(&self, f: impl FnOnce(&ReadTx) -> store::Result<T> + Send + 'static) -> Result<T, Status> {
        self.shared.store.read(f).await.map_err(|error| refusal(&error))
    }

    /// The same in place: see [`Store::read_short`].
    pub(crate) fn read_short<T>(&self, f: impl FnOnce(&ReadTx) -> store::Result<T>) -> Result<T, Status> {
        self.shared.store.read_short(f).map_err(|error| refusal(&error))
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        mut f: impl FnMut(&mut WriteTx) -> store::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let now = self.now();
        let mut f = move |tx: &mut WriteTx| {
            tx.happens_at(now);
            f(tx)
        };
        let Some(notify) = &self.notify else { return self.shared.store.write(f).await.map_err(|error| refusal(&error)) };
        let account = self.account;
        let noting = move |tx: &mut WriteTx| Ok((tx.mod_seq(account)?, f(tx)?, tx.mod_seq(account)?));
        let (before, value, after) = self.shared.store.write(noting).await.map_err(|error| refusal(&error))?;
        notify.wrote(before, after);
        Ok(value)
    }

    /// Takes over a new view; the octets that tell it.
    pub(crate) fn accept(&mut self, news: Option<News>) -> Vec<u8> {
        let Some(mut news) = news else { return Vec::new() };
        if !(news.arrived.is_empty() || self.enabled.rev2) {
            let recent = self.shared.recents.claim(self.watched(), &news.selected, &news.arrived);
            news.selected.recent = news.selected.recent.union(&recent);
            response::count(&mut news.data, news.selected.recent.len(), "RECENT");
        }
        self.selected = Some(Arc::new(news.selected));
        if news.overflow {
            self.overflow(&mut news.data);
        }
        news.data
    }

    /// What the client must be told after it has taken messages away itself.
    pub(crate) async fn news(&mut self, expunges: bool) -> Result<Vec<u8>, Status> {
        let look = Look { takes_away: true, ..self.look(expunges, false) };
        self.gather(look).await
    }

    /// What the client must be told now.
    async fn gather(&mut self, look: Look) -> Result<Vec<u8>, Status> {
        let mut data = self.rights_again()?;
        data.extend(self.mailbox_news(look).await?);
        data.extend(self.annotation_news()?);
        Ok(data)
    }

    async fn mailbox_news(&mut self, look: Look) -> Result<Vec<u8>, Status> {
        let Some(selected) = self.selected.clone() else { return Ok(Vec::new()) };
        let short = self.shared.store.read_short(|tx| {
            let behind = tx.mod_seq(look.account)?.0.saturating_sub(selected.seen.0);
            if behind <= SHORT_NEWS_MAX { selected.news(tx, &look, None).map(Some) } else { Ok(None) }
        });
        let news = match short.transpose() {
            Some(news) => news,
            None => self.shared.store.read(move |tx| selected.news(tx, &look, None)).await,
        };
        match news {
            Ok(news) => Ok(self.accept(news)),
            Err(Error::NotFound(_)) => Err(Status::bye("UNAVAILABLE", "Your mailbox was deleted")),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Ends a command with what the client must be told besides.
    pub(crate) async fn finish(&mut self, status: Status, expunges: bool) -> Outcome {
        let data = self.gather(self.look(expunges, false)).await?;
        Ok(Answer::Done(Done { data, status, state: None }))
    }

    /// The same behind a transaction that has told the news already: only what must be taken back is left.
    pub(crate) async fn finish_told(&mut self, data: Vec<u8>, status: Status, expunges: bool) -> Outcome {
        let nothing_to_take_back = self.selected.as_ref().is_none_or(|selected| selected.gone.is_empty());
        if nothing_to_take_back || !expunges {
            return Ok(Answer::Done(Done { data, status, state: None }));
        }
        let end = self.finish(status, expunges).await?;
        Ok(before(data, end))
    }

    /// Goes on with a long answer when the client has taken this.
    pub(crate) fn more(&mut self, data: Vec<u8>, job: Job) -> Answer {
        self.job = Some(job);
        Answer::More(data)
    }

    async fn run(&mut self, tag: String, command: Command) -> Outcome {
        let data = self.rights_again()?;
        Ok(before(data, self.done(tag, command).await?))
    }

    async fn done(&mut self, tag: String, command: Command) -> Outcome {
        match command {
            Command::Noop | Command::Check => self.finish(Status::ok("Done"), true).await,
            Command::Enable(enable) => enable.run(self),
            Command::Select(select) => select.run(self).await,
            Command::Create(create) => create.run(self).await,
            Command::Delete(delete) => delete.run(self).await,
            Command::Rename(rename) => rename.run(self).await,
            Command::Subscribe(subscribe) => subscribe.run(self).await,
            Command::List(list) => list.run(self).await,
            Command::Lsub(lsub) => lsub.run(self).await,
            Command::XList(list) => list.run(self).await,
            Command::Quota(quota) => quota.run(self).await,
            Command::SetQuota(quota) => quota.run(self).await,
            Command::SetAcl(acl) => acl.run(self).await,
            Command::Acl(asked) => asked.run(self).await,
            Command::GetMetadata(metadata) => metadata.run(self).await,
            Command::SetMetadata(metadata) => metadata.run(self).await,
            Command::Unauthenticate => Ok(unauthenticate::run(self)),
            Command::Namespace => {
                let data = format!("* NAMESPACE ((\"\" \"/\")) ((\"{OTHERS}/\" \"/\")) NIL\r\n").into_bytes();
                Ok(Answer::Done(Done { data, status: Status::ok("Done"), state: None }))
            }
            Command::Status(status) => status.run(self).await,
            Command::Idle => Ok(self.idle()),
            Command::Notify(notify) => notify.run(self).await,
            Command::CancelUpdate(cancel) => cancel.run(self).await,
            Command::Close => expunge::close(self, true).await,
            Command::Unselect => expunge::close(self, false).await,
            Command::Expunge(expunge) => expunge.run(self).await,
            Command::Search(search) => search.run(self, tag).await,
            Command::ESearch(search) => search.run(self, tag).await,
            Command::Sort(sort) => sort.run(self, tag).await,
            Command::Thread(thread) => thread.run(self, tag).await,
            Command::Fetch(fetch) => fetch.run(self).await,
            Command::Store(store) => store.run(self).await,
            Command::Append(target) => target.append(self).await,
            Command::Copy(copy) => copy.run(self).await,
            Command::UidBatches(batches) => batches.run(self, &tag).await,
            Command::Capability
            | Command::Logout
            | Command::Compress(_)
            | Command::Id(_)
            | Command::JmapAccess
            | Command::StartTls
            | Command::Authenticate(_)
            | Command::Login(_) => Err(Status::no("SERVERBUG", "The session does that itself")),
        }
    }

    async fn go_on(&mut self) -> Outcome {
        match self.job.take() {
            Some(Job::Find(job)) => job.step(self).await,
            Some(Job::ESearch(job)) => job.step(self).await,
            Some(Job::Fetch(job)) => job.step(self).await,
            Some(Job::Store(job)) => job.step(self).await,
            Some(Job::Expunge(job)) => job.step(self).await,
            None => Err(Status::no("SERVERBUG", "There is nothing to go on with")),
        }
    }

    /// From now on [`Handler::pushed`] tells what changes. What changed before is looked at once.
    fn idle(&mut self) -> Answer {
        if let Some(watch) = &mut self.watch {
            (watch.idle, watch.stale) = (true, true);
        } else if self.selected.is_some() || self.enabled.metadata {
            let subscription = self.shared.store.subscribe(self.account);
            self.watch = Some(Watch { subscription, of_selected: None, stale: true, idle: true });
            self.watch_selected();
        }
        Answer::Taken
    }

    fn idle_ends(&mut self) {
        match &mut self.watch {
            Some(watch) if self.notify.as_ref().is_some_and(|notify| notify.watches()) => watch.idle = false,
            _ => self.watch = None,
        }
    }

    /// NOTIFY: what the client hears from now on; what it is told at once of mailboxes that are not selected.
    pub(crate) async fn watch(&mut self, notify: Notify) -> Result<Vec<u8>, Status> {
        let teller = Teller::of(self, &[]);
        let selected = self.selected_of_own();
        let mailboxes_max = self.shared.config.limits.notify_mailboxes_max;
        // Before the read: what is committed behind it wakes us.
        let subscription = self.shared.store.subscribe(self.account);
        let begun = self.shared.store.read(move |tx| Notifying::begin(tx, &teller, notify, selected, mailboxes_max)).await;
        let (notifying, data) = begun.map_err(|error| match error {
            Error::Limit(_) => Status::no("NOTIFICATIONOVERFLOW", "These are too many mailboxes to watch"),
            error => refusal(&error),
        })?;
        self.watch = notifying.watches().then_some(Watch { subscription, of_selected: None, stale: true, idle: false });
        self.notify = Some(Box::new(notifying));
        self.watch_selected();
        Ok(data)
    }

    /// NOTIFY is over: there is more than we tell (RFC 5465 §5.8).
    fn overflow(&mut self, data: &mut Vec<u8>) {
        Status::ok("More has changed at once than is told: NOTIFY is over").code("NOTIFICATIONOVERFLOW").write(data, "*");
        self.notify = Some(Box::default());
        if self.watch.as_ref().is_some_and(|watch| !watch.idle) {
            self.watch = None;
        }
    }

    /// Gathers what the client hears without asking: of its mailbox, and of others.
    async fn look_around(&mut self) -> Result<(), Status> {
        let idle = self.watch.as_ref().is_some_and(|watch| watch.idle);
        let expunges = idle || self.notify.as_ref().is_none_or(|notify| !notify.delayed);
        let look = self.look(expunges, false);
        let news = self.gather(look).await?;
        // Kept here, so that it is not lost if this future is dropped below.
        self.undelivered.extend(news);
        let around = self.around().await?;
        self.undelivered.extend(around);
        if let Some(watch) = &mut self.watch {
            watch.stale = false;
        }
        Ok(())
    }

    /// What NOTIFY tells of mailboxes that are not selected.
    async fn around(&mut self) -> Result<Vec<u8>, Status> {
        if self.notify.is_none() {
            return Ok(Vec::new());
        }
        let selected = self.selected_of_own();
        let teller = Teller::of(self, &[]);
        let (Some(notify), Some(watch)) = (self.notify.as_ref().filter(|notify| notify.looks_around()), &self.watch) else {
            return Ok(Vec::new());
        };
        let since = notify.since();
        if self.read_short(|tx| tx.mod_seq(self.account))? == since && since == notify.seen {
            return Ok(Vec::new());
        }
        let survey = notify.survey(selected, self.enabled, self.shared.config.limits.notify_statuses_max);
        let changed = watch.subscription.mailboxes_since(since);
        let told = self.read(move |tx| survey.look(tx, &teller, changed)).await?;
        let mut data = Vec::new();
        if told.overflow {
            self.overflow(&mut data);
        } else if let Some(notify) = &mut self.notify {
            data = notify.accept(told);
        }
        Ok(data)
    }

    fn enter(&mut self, account: AccountId) -> Answer {
        self.account = account;
        if let Some(mut sign_in) = self.sign_in.take() {
            sign_in.entered();
        }
        Answer::Done(Done { data: Vec::new(), status: Status::ok("Logged in"), state: Some(State::Authenticated) })
    }

    async fn authorise(&mut self, ask: SaslAsk) -> SaslAnswer {
        let (authenticator, peer) = (&self.shared.authenticator, self.peer);
        let sign_in = self.sign_in.get_or_insert_with(|| Box::new(SignIn::new(authenticator.clone(), Some(peer))));
        sign_in.answer(ask).await
    }
}

impl Handler<Session> for Server {
    async fn answer(&mut self, ask: Ask) -> Answer {
        let outcome = match ask {
            Ask::Run { tag, command } => {
                self.job = None;
                self.upload = None;
                if let Some(watch) = &mut self.watch {
                    // What the command's answer does not tell is looked at behind it.
                    watch.stale = true;
                }
                // Boxed, so that an idle connection does not hold the room that its largest command needs.
                Box::pin(self.run(tag, *command)).await
            }
            Ask::Continue => Box::pin(self.go_on()).await,
            Ask::Auth(ask) => Ok(Answer::Auth(Box::pin(self.authorise(ask)).await)),
            Ask::Enter(account) => Ok(self.enter(account)),
            Ask::Upload(target) => Box::pin(target.upload(self)).await,
            Ask::Pieces(steps) => Box::pin(Upload::go_on(self, steps)).await,
            Ask::Chunk(octets) => Upload::chunk(self, &octets),
            Ask::Abandon(status) => {
                self.upload = None;
                Err(*status)
            }
            Ask::Append(steps) => Box::pin(Upload::append(self, steps)).await,
            Ask::IdleEnd => {
                self.idle_ends();
                Box::pin(self.finish(Status::ok("IDLE ended"), true)).await
            }
        };
        let answer = outcome.unwrap_or_else(|status| Answer::Done(Done::status(status)));
        match answer {
            Answer::More(_) | Answer::Done(_) => before(std::mem::take(&mut self.undelivered), answer),
            other => other,
        }
    }

    async fn pushed(&mut self) -> Push {
        loop {
            if !self.undelivered.is_empty() {
                return Push::News(std::mem::take(&mut self.undelivered));
            }
            let Some(watch) = &mut self.watch else { return std::future::pending().await };
            if !watch.stale {
                watch.changed().await;
                // Noted before anything is awaited: if this future is dropped, the next one looks.
                watch.stale = true;
            }
            // Boxed as above.
            if let Err(status) = Box::pin(self.look_around()).await {
                return Push::Bye(Status::bye(status.code.unwrap_or("UNAVAILABLE".into()), status.text));
            }
        }
    }
}

/// The same answer with octets before its own.
pub(crate) fn before(mut data: Vec<u8>, answer: Answer) -> Answer {
    if data.is_empty() {
        return answer;
    }
    match answer {
        Answer::More(more) => {
            data.extend(more);
            Answer::More(data)
        }
        Answer::Done(done) => {
            data.extend(done.data);
            Answer::Done(Done { data, ..done })
        }
        other => other,
    }
}

fn no_longer() -> Status {
    Status::bye("UNAVAILABLE", "You may no longer read this mailbox")
}

/// What a client hears of an error of the store (RFC 5530).
pub(crate) fn refusal(error: &Error) -> Status {
    match error {
        Error::NotFound(_) => Status::no("NONEXISTENT", "There is no such mailbox"),
        Error::Denied => Status::no("NOPERM", "You do not have the right to do that"),
        Error::Exists(_) => Status::no("ALREADYEXISTS", "That exists already"),
        Error::OverQuota { .. } | Error::TooManyEmails { .. } => Status::no("OVERQUOTA", "The quota does not allow it"),
        Error::InUse(_) => Status::no("INUSE", "Something else uses it, try again later"),
        Error::Full => Status::no("UNAVAILABLE", "The disk is full"),
        Error::Limit(what) => Status::no("LIMIT", format!("Too many or too much: {}", plain(what))),
        Error::HasChildren => Status::no("HASCHILDREN", "It has mailboxes below it"),
        Error::Invalid(what) => Status::no("CANNOT", plain(what)),
        Error::Corrupt { .. } => Status::no("CORRUPTION", "Stored mail is damaged, tell your administrator"),
        Error::Stopped(_) | Error::Closed => Status::bye("UNAVAILABLE", "The store has stopped"),
        Error::Io { .. } => Status::no("UNAVAILABLE", "Cannot do that now, try again"),
    }
}

/// A text as a line of ASCII.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// An object id of RFC 8474: a letter for its kind, and its number.
pub(crate) fn object_id(kind: char, number: u64) -> String {
    format!("{kind}{number}")
}
