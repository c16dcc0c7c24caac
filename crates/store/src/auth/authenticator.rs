//! Checks logins: passwords and tokens against what is stored, and verifiers for SCRAM.

use super::credentials::{Credentials, PASSWORD_OCTETS_MAX, random};
use super::guard::{self, Attempt, Guard};
use super::proofs::{Proofs, Who};
use super::tokens::Tokens;
use super::workers::Workers;
use crate::Store;
use crate::account::Account;
use crate::ban::Ban;
use crate::error::Error;
use crate::schema::Space;
use mail::{AccountId, Address, Timestamp};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use wire::sasl::{Failure, Hash, SaslAnswer, SaslAsk, ScramVerifier, Secret};

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Unknown login or wrong password; which of them is not told.
    #[error("wrong login or password")]
    Credentials,
    /// The password is right and the account is switched off.
    #[error("the account is disabled")]
    Disabled,
    /// Too many checks are waiting: try again later.
    #[error("too many logins are being checked")]
    Busy,
    /// The store cannot answer: try again later.
    #[error("logins cannot be checked now")]
    Temporary,
}

/// The name of the key from which the verifiers of unknown logins are invented.
const PRETEND_KEY: &[u8] = b"pretend_key";

/// The bounds of an [`Authenticator`]; all our own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Passwords checked at the same time, each with 19 MiB and a core; default 2.
    pub threads_max: usize,
    /// Checks that may wait, beyond which [`AuthError::Busy`]; default 256: some 3 seconds' work.
    pub waiting_max: usize,
    /// How long a proved password need not be proved again by the same address; default 10 minutes.
    pub proof_lifetime: Duration,
    /// How many such proofs are kept, some 150 octets each; default 10,000.
    pub proofs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { threads_max: 2, waiting_max: 256, proof_lifetime: Duration::from_mins(10), proofs_max: 10_000 }
    }
}

/// Checks logins. Clones are the same authenticator, apart from which tokens they take.
#[derive(Clone)]
pub struct Authenticator {
    shared: Arc<Shared>,
    tokens: Arc<Tokens>,
}

struct Shared {
    store: Store,
    /// None: checks run where they are asked for.
    workers: Option<Workers>,
    proofs: Mutex<Proofs>,
    /// From it the verifiers of unknown logins are invented.
    pretend_key: [u8; 32],
    /// Credentials for logins that do not exist, so that these cost the same.
    nobody: OnceLock<Option<Credentials>>,
    /// Who has failed too often.
    guard: Mutex<Guard>,
    counters: Counters,
}

/// What happened since the start of the process.
#[derive(Debug, Default)]
struct Counters {
    failures: AtomicU64,
    put_off: AtomicU64,
    bans: AtomicU64,
}

impl Authenticator {
    /// An authenticator over the accounts of a store, with the default limits. Writes a random key
    /// into a new store, and so may wait for a sync.
    pub fn new(store: Store) -> Self {
        Self::with_limits(store, &Limits::default())
    }

    /// An authenticator with other limits.
    pub fn with_limits(store: Store, limits: &Limits) -> Self {
        Self::build(store, limits, Some(Workers::new(limits.threads_max, limits.waiting_max)))
    }

    /// An authenticator without threads, which checks where it is asked: for tests and `sim`.
    pub fn in_place(store: Store) -> Self {
        Self::build(store, &Limits::default(), None)
    }

    fn build(store: Store, limits: &Limits, workers: Option<Workers>) -> Self {
        // Without randomness nothing is remembered: a known key would be worse than the work.
        let (key, entries_max) = random().map_or(([0; 32], 0), |key| (key, limits.proofs_max));
        let pretend_key = pretend_key(&store);
        let guard = Mutex::new(Guard::new(guard::Settings::default(), bans(&store)));
        let shared = Shared {
            store,
            workers,
            proofs: Mutex::new(Proofs::new(key, limits.proof_lifetime, entries_max)),
            pretend_key,
            nobody: OnceLock::new(),
            guard,
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared), tokens: Arc::default() }
    }

    /// The same authenticator, taking these bearer tokens; without this it takes none.
    #[must_use]
    pub fn taking(&self, tokens: Arc<Tokens>) -> Self {
        Self { shared: Arc::clone(&self.shared), tokens }
    }

    /// Whether this is the password of a login: the account, or why not. Who fails too often is not heeded here,
    /// but in [`Authenticator::answer`].
    ///
    /// `peer` is the client's address; what it has proved within [`Limits::proof_lifetime`] it need
    /// not prove again. Without an address every check is made in full.
    pub fn password(
        &self,
        login: &str,
        password: Secret,
        peer: Option<IpAddr>,
    ) -> impl Future<Output = Result<AccountId, AuthError>> + Send + 'static {
        let (this, login) = (self.clone(), login.to_owned());
        async move {
            let outcome = if crate::token::is_one(password.expose()) {
                this.token_as_password(&login, password).await
            } else {
                let account = this.account(&login).await?;
                this.check(account, password, peer).await
            };
            if outcome == Err(AuthError::Credentials) {
                this.count_failure();
            }
            outcome
        }
    }

    /// The SCRAM keys of a login; `None`: there is no such login, it has no password or no keys for this
    /// hash, or it is disabled. The exchange then goes on with invented keys.
    pub fn verifier(&self, hash: Hash, login: &str) -> impl Future<Output = Result<Option<ScramVerifier>, AuthError>> + Send + 'static {
        let (this, login) = (self.clone(), login.to_owned());
        async move {
            let account = this.account(&login).await?.filter(|account| account.enabled);
            Ok(account.and_then(|account| account.credentials.verifier(hash, account.id, &account.address.to_string())))
        }
    }

    /// Answers a question of a SASL exchange, unless the peer or the login has to wait. An identity to act as must be
    /// the login itself. How an exchange of SCRAM ends is not seen here: a connection asks through
    /// [`super::SignIn`].
    pub fn answer(&self, ask: SaslAsk, peer: Option<IpAddr>) -> impl Future<Output = SaslAnswer> + Send + 'static {
        let this = self.clone();
        async move {
            let (attempt, login) = this.attempt(&ask);
            if !this.guard().admits(peer, attempt, now()) {
                this.shared.counters.put_off.fetch_add(1, Ordering::Relaxed);
                this.failed(peer, attempt.early(), true).await;
                return SaslAnswer::Refused(Failure::Wait);
            }
            let answer = this.check_ask(ask, peer).await;
            match &answer {
                SaslAnswer::Account { .. } => this.guard().succeeded(peer, attempt, now()),
                SaslAnswer::Refused(Failure::Credentials) | SaslAnswer::TokenRefused(_) => {
                    let exists = this.exists(login.as_deref()).await;
                    this.failed(peer, attempt, exists).await;
                }
                SaslAnswer::Refused(_) | SaslAnswer::Verifier(_) => {}
            }
            answer
        }
    }

    async fn check_ask(&self, ask: SaslAsk, peer: Option<IpAddr>) -> SaslAnswer {
        match ask {
            SaslAsk::Token { login, token } => self.token(login, token).await,
            SaslAsk::Certificate { login, addresses } => self.certificate(login, addresses).await,
            SaslAsk::ScramVerifier { hash, login } => self.verifier(hash, &login).await.map_or_else(refused, SaslAnswer::Verifier),
            SaslAsk::Password { authzid, login, password } => match self.password(&login, password, peer).await {
                // Told to those only who have shown the password.
                Ok(_) if authzid.is_some_and(|other| !other.eq_ignore_ascii_case(&login)) => SaslAnswer::Refused(Failure::Identity),
                Ok(account) => self.named(account).await,
                Err(error) => refused(error),
            },
        }
    }

    /// What the guard keeps of a question, and the login in it.
    fn attempt(&self, ask: &SaslAsk) -> (Attempt, Option<String>) {
        let (login, secret) = match ask {
            SaslAsk::Token { login, token } => (login.clone(), Some(token.expose())),
            SaslAsk::Certificate { addresses, .. } => (addresses.first().cloned(), Some("certificate")),
            SaslAsk::ScramVerifier { login, .. } => (Some(login.clone()), None),
            SaslAsk::Password { login, password, .. } => (Some(login.clone()), Some(password.expose())),
        };
        (self.guard().attempt(login.as_deref().unwrap_or_default(), secret), login)
    }

    /// Whether there is such a login; yes if none was named or that cannot be said.
    async fn exists(&self, login: Option<&str>) -> bool {
        let Some(login) = login else { return true };
        self.account(login).await.map_or(true, |account| account.is_some())
    }

    pub(super) fn scram_succeeded(&self, login: &str, peer: Option<IpAddr>) {
        let mut guard = self.guard();
        let attempt = guard.attempt(login, None);
        guard.succeeded(peer, attempt, now());
    }

    pub(super) fn scram_failed(&self, login: &str, exists: bool, peer: Option<IpAddr>) -> Option<Ban> {
        self.count_failure();
        let mut guard = self.guard();
        let attempt = guard.attempt(login, None);
        guard.failed(peer, attempt, exists, now())
    }

    async fn failed(&self, peer: Option<IpAddr>, attempt: Attempt, exists: bool) {
        let ban = self.guard().failed(peer, attempt, exists, now());
        if let Some(ban) = ban {
            self.keep(ban).await;
        }
    }

    /// A ban holds at once; here it is kept over a restart.
    pub(super) async fn keep(&self, ban: Ban) {
        self.tell(&ban);
        let kept = self.shared.store.write(move |tx| tx.ban_set(&ban, now())).await;
        tell_kept(kept);
    }

    /// The same where nobody can wait for it.
    pub(super) fn keep_later(&self, ban: Ban) {
        self.tell(&ban);
        let store = self.shared.store.clone();
        let work = move || tell_kept(store.write_blocking(move |tx| tx.ban_set(&ban, now())));
        let Some(workers) = &self.shared.workers else { return work() };
        if !workers.take(Box::new(work)) {
            tracing::warn!("a ban is not kept, too much waits; it ends with this process");
        }
    }

    fn tell(&self, ban: &Ban) {
        self.shared.counters.bans.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(network = %ban.network, reason = ban.reason, times = ban.times, seconds = length(ban), "banned");
    }

    /// What is borne from now on.
    pub fn set_guard(&self, settings: guard::Settings) {
        self.guard().set(settings);
    }

    /// Takes the bans from the store, after somebody changed them there.
    pub fn read_bans(&self) {
        let bans = bans(&self.shared.store);
        self.guard().set_bans(bans);
    }

    /// Whether connections of a peer are not to be taken; `signs_in`: where accounts sign in.
    pub fn is_banned(&self, peer: IpAddr, signs_in: bool) -> bool {
        self.guard().is_banned(peer, signs_in, now())
    }

    /// How many bans hold now.
    pub fn bans_held(&self) -> usize {
        self.guard().bans_held(now())
    }

    /// How many bans failed sign-ins have earned since the start.
    pub fn bans_earned(&self) -> u64 {
        self.shared.counters.bans.load(Ordering::Relaxed)
    }

    /// How many sign-ins were put off, unchecked, since the start: too many had failed.
    pub fn put_off(&self) -> u64 {
        self.shared.counters.put_off.load(Ordering::Relaxed)
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.shared.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_failure(&self) {
        self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The key for `wire::sasl::Exchange::pretending`, the same for the life of the installation.
    pub fn pretend_key(&self) -> &[u8; 32] {
        &self.shared.pretend_key
    }

    /// How many logins were refused for a wrong login or password since the start.
    pub fn failures(&self) -> u64 {
        self.shared.counters.failures.load(Ordering::Relaxed)
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, AuthError> {
        let login = login.to_owned();
        self.shared.store.read(move |tx| tx.account_by_login(&login)).await.map_err(temporary)
    }

    /// Whose a bearer token is.
    async fn token(&self, login: Option<String>, token: Secret) -> SaslAnswer {
        let found = if crate::token::is_one(token.expose()) { self.own_token(token).await } else { self.signed_token(&token).await };
        let claims_it = |account: &Account| login.as_ref().is_none_or(|login| is_login(account, login));
        match found {
            Ok(Some(account)) if claims_it(&account) && !account.enabled => SaslAnswer::Refused(Failure::Disabled),
            Ok(Some(account)) if claims_it(&account) => SaslAnswer::Account { account: account.id.0, login: account.address.to_string() },
            Ok(_) => {
                self.count_failure();
                SaslAnswer::TokenRefused(self.tokens.hints.clone())
            }
            Err(error) => refused(error),
        }
    }

    async fn own_token(&self, token: Secret) -> Result<Option<Account>, AuthError> {
        if self.tokens.own { self.token_account(token).await } else { Ok(None) }
    }

    async fn token_account(&self, token: Secret) -> Result<Option<Account>, AuthError> {
        let whose = move |tx: &crate::ReadTx| match tx.token_account(&token, now())? {
            Some(account) => tx.account(account),
            None => Ok(None),
        };
        self.shared.store.read(whose).await.map_err(temporary)
    }

    async fn signed_token(&self, token: &Secret) -> Result<Option<Account>, AuthError> {
        let Some(issuer) = &self.tokens.issuer else { return Ok(None) };
        match issuer.login(token, now()) {
            Ok(login) => self.account(&login).await,
            Err(reason) => {
                tracing::info!(reason, "a bearer token is refused");
                Ok(None)
            }
        }
    }

    /// One of our tokens where a password is asked for: an app password.
    async fn token_as_password(&self, login: &str, token: Secret) -> Result<AccountId, AuthError> {
        match self.token_account(token).await?.filter(|account| is_login(account, login)) {
            Some(account) if account.enabled => Ok(account.id),
            Some(_) => Err(AuthError::Disabled),
            None => Err(AuthError::Credentials),
        }
    }

    /// The first account that a verified certificate speaks for; the login must be one of its addresses.
    async fn certificate(&self, login: Option<String>, addresses: Vec<String>) -> SaslAnswer {
        let wanted = |address: &&String| login.as_ref().is_none_or(|login| same_address(address, login));
        for address in addresses.iter().filter(wanted) {
            match self.account(address).await {
                Ok(Some(account)) if account.enabled => {
                    return SaslAnswer::Account { account: account.id.0, login: account.address.to_string() };
                }
                Ok(Some(_)) => return SaslAnswer::Refused(Failure::Disabled),
                Ok(None) => {}
                Err(error) => return refused(error),
            }
        }
        self.count_failure();
        SaslAnswer::Refused(Failure::Credentials)
    }

    async fn named(&self, id: AccountId) -> SaslAnswer {
        match self.shared.store.read(move |tx| tx.account(id)).await {
            Ok(Some(account)) => SaslAnswer::Account { account: id.0, login: account.address.to_string() },
            Ok(None) => SaslAnswer::Refused(Failure::Credentials),
            Err(_) => SaslAnswer::Refused(Failure::Temporary),
        }
    }

    async fn check(&self, account: Option<Account>, password: Secret, peer: Option<IpAddr>) -> Result<AccountId, AuthError> {
        if password.expose().len() > PASSWORD_OCTETS_MAX {
            return Err(AuthError::Credentials);
        }
        let who = account.as_ref().zip(peer).map(|(account, peer)| who(account, peer));
        if !self.knows(who.as_ref(), &password) {
            self.prove(account.as_ref(), &password).await?;
            self.learn(who, &password);
            self.complete(account.as_ref(), &password);
        }
        match account {
            Some(account) if account.enabled => Ok(account.id),
            Some(_) => Err(AuthError::Disabled),
            None => Err(AuthError::Credentials),
        }
    }

    fn knows(&self, who: Option<&Who>, password: &Secret) -> bool {
        let proofs = self.shared.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        who.is_some_and(|who| proofs.knows(who, password.expose(), Instant::now()))
    }

    fn learn(&self, who: Option<Who>, password: &Secret) {
        let mut proofs = self.shared.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(who) = who {
            proofs.learn(who, password.expose(), Instant::now());
        }
    }

    /// Ok: it is the password of this account. Costs the same for an account that is not there.
    async fn prove(&self, account: Option<&Account>, password: &Secret) -> Result<(), AuthError> {
        let known = account.map(|account| account.credentials.clone()).filter(Credentials::has_password);
        let (this, password) = (self.clone(), password.clone());
        let work = move || {
            let exists = known.is_some();
            let credentials = known.or_else(|| this.nobody()).ok_or(AuthError::Temporary)?;
            match credentials.verify(&password) {
                Ok(right) if right && exists => Ok(()),
                Ok(_) | Err(super::PasswordError::Empty | super::PasswordError::TooLong) => Err(AuthError::Credentials),
                Err(super::PasswordError::Unavailable) => Err(AuthError::Temporary),
            }
        };
        let Some(workers) = &self.shared.workers else { return work() };
        let (tell, told) = oneshot::channel();
        let taken = workers.take(Box::new(move || {
            // Nobody listens any more if the client has gone.
            if !tell.is_closed() {
                tell.send(work()).unwrap_or(());
            }
        }));
        if taken { told.await.unwrap_or(Err(AuthError::Temporary)) } else { Err(AuthError::Busy) }
    }

    /// Makes the SCRAM keys that an older Postrider did not make; the login does not wait for them.
    fn complete(&self, account: Option<&Account>, password: &Secret) {
        let Some(account) = account.filter(|account| account.credentials.is_incomplete()) else { return };
        let (store, id, credentials, password) = (self.shared.store.clone(), account.id, account.credentials.clone(), password.clone());
        let work = move || {
            let Ok(complete) = credentials.completed(&password) else { return };
            if let Err(error) = store.write_blocking(move |tx| tx.account_complete_credentials(id, &complete)) {
                tracing::warn!(%error, "the keys for SCRAM-SHA-1 cannot be kept");
            }
        };
        match &self.shared.workers {
            // If too much waits already, the next login makes them.
            Some(workers) => drop(workers.take(Box::new(work))),
            None => work(),
        }
    }

    fn nobody(&self) -> Option<Credentials> {
        let make = || Credentials::new(&Secret::new("nobody has this password")).ok();
        self.shared.nobody.get_or_init(make).clone()
    }
}

/// The key that an installation keeps; one for this process if it cannot.
fn pretend_key(store: &Store) -> [u8; 32] {
    let fresh = random().unwrap_or_default();
    let kept = store.write_blocking(move |tx| {
        if let Some(key) = tx.get(Space::Secret, PRETEND_KEY)?.and_then(|key| key.try_into().ok()) {
            return Ok(key);
        }
        tx.put(Space::Secret, PRETEND_KEY, fresh.to_vec());
        Ok(fresh)
    });
    kept.unwrap_or_else(|error| {
        tracing::warn!(%error, "the key of invented verifiers cannot be kept");
        fresh
    })
}

fn bans(store: &Store) -> Vec<Ban> {
    store.read_blocking(crate::ReadTx::bans).unwrap_or_else(|error| {
        tracing::warn!(%error, "the bans cannot be read");
        Vec::new()
    })
}

fn tell_kept(kept: Result<(), Error>) {
    if let Err(error) = kept {
        tracing::warn!(%error, "a ban cannot be kept; it ends with this process");
    }
}

/// Seconds.
fn length(ban: &Ban) -> u64 {
    ban.until.map_or(u64::MAX, |until| until.since(ban.since).as_secs())
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn is_login(account: &Account, login: &str) -> bool {
    Address::parse(login).is_ok_and(|login| login.key() == account.address.key())
}

fn same_address(a: &str, b: &str) -> bool {
    matches!((Address::parse(a), Address::parse(b)), (Ok(a), Ok(b)) if a.key() == b.key())
}

fn who(account: &Account, peer: IpAddr) -> Who {
    Who { account: account.id, version: account.credentials.version(), peer }
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a map_err")]
fn temporary(error: Error) -> AuthError {
    tracing::warn!(%error, "a login could not be checked");
    AuthError::Temporary
}

fn refused(error: AuthError) -> SaslAnswer {
    SaslAnswer::Refused(match error {
        AuthError::Credentials => Failure::Credentials,
        AuthError::Disabled => Failure::Disabled,
        AuthError::Busy | AuthError::Temporary => Failure::Temporary,
    })
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, tx, world};
    use std::net::Ipv4Addr;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// ann@example.org with the password `secret`, an alias to her, and bob without a password.
    fn store() -> (Store, AccountId) {
        let (store, ann) = world();
        let credentials = Credentials::new(&Secret::new("secret")).unwrap();
        tx(&store, move |tx| {
            tx.account_set_credentials(ann, credentials.clone())?;
            tx.alias_set(&address("alias@example.org"), vec![crate::Target::Account(ann)])?;
            crate::testing::account_add(tx, "bob@example.org")
        });
        (store, ann)
    }

    fn ask(authenticator: &Authenticator, login: &str, password: &str, peer: Option<IpAddr>) -> Result<AccountId, AuthError> {
        block(authenticator.password(login, Secret::new(password), peer))
    }

    /// Waits for a future that other threads finish.
    fn block<T>(future: impl Future<Output = T>) -> T {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut context) {
                std::task::Poll::Ready(out) => return out,
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn logins_are_checked() {
        let (store, ann) = store();
        let authenticator = Authenticator::new(store);
        let long = "x".repeat(PASSWORD_OCTETS_MAX + 1);
        for (login, password, want) in [
            ("ann@example.org", "secret", Ok(ann)),
            ("ANN@Example.Org", "secret", Ok(ann)),
            ("ann@example.org", "Secret", Err(AuthError::Credentials)),
            ("ann@example.org", "", Err(AuthError::Credentials)),
            ("ann@example.org", &long, Err(AuthError::Credentials)),
            ("ann+x@example.org", "secret", Err(AuthError::Credentials)),
            ("alias@example.org", "secret", Err(AuthError::Credentials)),
            ("bob@example.org", "", Err(AuthError::Credentials)),
            ("bob@example.org", "secret", Err(AuthError::Credentials)),
            ("nobody@example.org", "nobody has this password", Err(AuthError::Credentials)),
            ("no address", "secret", Err(AuthError::Credentials)),
        ] {
            assert_eq!(ask(&authenticator, login, password, PEER), want, "{login} {password}");
        }
        assert_eq!(authenticator.failures(), 9);
    }

    #[test]
    fn only_who_knows_the_password_learns_that_the_account_is_disabled() {
        let (store, ann) = store();
        tx(&store, move |tx| tx.account_set_enabled(ann, false));
        let authenticator = Authenticator::in_place(store);
        assert_eq!(ask(&authenticator, "ann@example.org", "secret", PEER), Err(AuthError::Disabled));
        assert_eq!(ask(&authenticator, "ann@example.org", "wrong", PEER), Err(AuthError::Credentials));
        assert_eq!(block(authenticator.verifier(Hash::Sha256, "ann@example.org")), Ok(None));
    }

    #[test]
    fn what_was_proved_is_not_proved_again_until_the_password_changes() {
        let (store, ann) = store();
        // No check may wait: what is not known already is refused as too much.
        let proved = Authenticator::in_place(store.clone());
        assert_eq!(ask(&proved, "ann@example.org", "secret", PEER), Ok(ann));
        assert_eq!(ask(&proved, "ann@example.org", "wrong", PEER), Err(AuthError::Credentials));
        let known = |peer| {
            let account = tx(&store, move |tx| tx.account(ann)).unwrap();
            proved.knows(Some(&who(&account, peer)), &Secret::new("secret"))
        };
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((known(PEER.unwrap()), known(elsewhere)), (true, false));
        let credentials = Credentials::new(&Secret::new("secret")).unwrap();
        tx(&store, move |tx| tx.account_set_credentials(ann, credentials.clone()));
        assert!(!known(PEER.unwrap()), "the same password set anew is proved anew");
    }

    #[test]
    fn too_many_checks_are_refused() {
        let (store, ann) = store();
        let none = Authenticator::with_limits(store, &Limits { waiting_max: 0, ..Limits::default() });
        assert_eq!(ask(&none, "ann@example.org", "secret", PEER), Err(AuthError::Busy));
        assert_eq!(ask(&none, "nobody@example.org", "secret", PEER), Err(AuthError::Busy));
        assert_eq!(none.failures(), 0);
        let account = block(none.account("ann@example.org")).unwrap().unwrap();
        none.learn(Some(who(&account, PEER.unwrap())), &Secret::new("secret"));
        assert_eq!(ask(&none, "ann@example.org", "secret", PEER), Ok(ann), "what is known needs no check");
        assert_eq!(ask(&none, "ann@example.org", "secret", None), Err(AuthError::Busy), "without an address nothing is known");
    }

    #[test]
    fn sasl_is_answered() {
        let (store, ann) = store();
        let authenticator = Authenticator::in_place(store);
        let answer = |authzid: Option<&str>, password: &str| {
            let ask =
                SaslAsk::Password { authzid: authzid.map(str::to_owned), login: "Ann@example.org".into(), password: Secret::new(password) };
            block(authenticator.answer(ask, PEER))
        };
        let account = SaslAnswer::Account { account: ann.0, login: "ann@example.org".into() };
        assert_eq!(answer(None, "secret"), account);
        assert_eq!(answer(Some("ann@EXAMPLE.org"), "secret"), account);
        assert_eq!(answer(Some("bob@example.org"), "secret"), SaslAnswer::Refused(Failure::Identity));
        assert_eq!(answer(Some("bob@example.org"), "wrong"), SaslAnswer::Refused(Failure::Credentials));
        assert_eq!(answer(None, "wrong"), SaslAnswer::Refused(Failure::Credentials));
        let verifier = |hash, login: &str| block(authenticator.answer(SaslAsk::ScramVerifier { hash, login: login.into() }, PEER));
        for hash in [Hash::Sha1, Hash::Sha256] {
            let SaslAnswer::Verifier(Some(keys)) = verifier(hash, "ANN@example.org") else { panic!("no verifier") };
            let derived = ScramVerifier::derive(hash, &Secret::new("secret"), &keys.salt, keys.iterations, ann.0, "ann@example.org");
            assert_eq!(keys, derived);
        }
        let after_a_restart = Authenticator::in_place(authenticator.shared.store.clone());
        assert_eq!(after_a_restart.pretend_key(), authenticator.pretend_key());
        for stranger in ["nobody@example.org", "bob@example.org"] {
            assert_eq!(verifier(Hash::Sha256, stranger), SaslAnswer::Verifier(None), "{stranger}");
        }
    }

    #[test]
    fn who_fails_too_often_waits_and_is_banned_over_a_restart() {
        let (store, ann) = store();
        let authenticator = Authenticator::in_place(store.clone());
        let peer: IpAddr = [203, 0, 113, 9].into();
        let try_one = |login: &str, password: &str| {
            let ask = SaslAsk::Password { authzid: None, login: login.to_owned(), password: Secret::new(password) };
            block(authenticator.answer(ask, Some(peer)))
        };
        // How long a check takes on this machine decides which of them are put off; none is let in.
        let refused = (0..25).map(|number| try_one(&format!("{number}@example.org"), "1"));
        let put_off = refused.filter(|answer| *answer == SaslAnswer::Refused(Failure::Wait)).count();
        assert_eq!(u64::try_from(put_off).unwrap(), authenticator.put_off());
        assert!(authenticator.is_banned(peer, true) && !authenticator.is_banned(peer, false));
        assert_eq!(try_one("ann@example.org", "secret"), SaslAnswer::Refused(Failure::Wait));
        let restarted = Authenticator::in_place(store.clone());
        assert_eq!((restarted.is_banned(peer, true), restarted.bans_held()), (true, 1));
        tx(&store, move |tx| tx.ban_remove(&mail::Network::of(peer)));
        authenticator.read_bans();
        assert!(!authenticator.is_banned(peer, true));
        assert_eq!(try_one("ann@example.org", "secret"), SaslAnswer::Account { account: ann.0, login: "ann@example.org".into() });
    }

    #[test]
    fn an_exchange_of_scram_that_is_given_up_has_failed() {
        use super::super::SignIn;
        let (store, _) = store();
        let authenticator = Authenticator::in_place(store);
        let peer: IpAddr = [203, 0, 113, 9].into();
        let ask = |login: &str| SaslAsk::ScramVerifier { hash: Hash::Sha256, login: login.to_owned() };
        let mut entering = SignIn::new(authenticator.clone(), Some(peer));
        (0..20).for_each(|_| {
            assert!(matches!(block(entering.answer(ask("ann@example.org"))), SaslAnswer::Verifier(Some(_))));
            entering.entered();
        });
        drop(entering);
        assert_eq!(authenticator.failures(), 0);
        let mut failing = SignIn::new(authenticator.clone(), Some(peer));
        for failures in [0, 1] {
            assert_eq!(block(failing.answer(ask("bob@example.org"))), SaslAnswer::Verifier(None));
            assert_eq!(authenticator.failures(), failures);
        }
        drop(failing);
        assert_eq!(authenticator.failures(), 2);
    }

    #[test]
    fn keys_that_an_older_postrider_did_not_make_come_with_the_password() {
        let (store, ann) = store();
        tx(&store, move |tx| {
            let credentials = tx.account(ann)?.unwrap().credentials.incomplete();
            tx.account_set_credentials(ann, credentials)
        });
        let authenticator = Authenticator::in_place(store.clone());
        let has_keys = || block(authenticator.verifier(Hash::Sha1, "ann@example.org")).unwrap().is_some();
        assert!(!has_keys());
        assert_eq!(ask(&authenticator, "ann@example.org", "wrong", PEER), Err(AuthError::Credentials));
        assert!(!has_keys());
        assert_eq!(ask(&authenticator, "ann@example.org", "secret", PEER), Ok(ann));
        assert!(has_keys());
        assert_eq!(ask(&authenticator, "ann@example.org", "secret", None), Ok(ann), "the password is the same");
    }

    #[test]
    fn tokens_are_answered() {
        use super::super::tokens::testing::{issuer, signed};
        let (store, ann) = store();
        let text = tx(&store, move |tx| Ok(tx.token_add(ann, "phone", [5; 20], None, Timestamp(0))?.1));
        let none = Authenticator::in_place(store.clone());
        let hints = wire::sasl::TokenError { scope: Some("imap".into()), openid_configuration: None };
        let both = none.taking(Arc::new(Tokens { own: true, issuer: Some(issuer()), hints: hints.clone() }));
        let jwt = |address: &str| {
            let claims = format!(r#"{{"iss":"https://id.example","aud":"mail","exp":99999999999,"scope":"imap","email":"{address}"}}"#);
            Secret::new(signed(&claims))
        };
        let account = || SaslAnswer::Account { account: ann.0, login: "ann@example.org".into() };
        let refused = || SaslAnswer::TokenRefused(hints.clone());
        for (login, token, want) in [
            (None, text.clone(), account()),
            (Some("ANN@example.org"), text.clone(), account()),
            (Some("bob@example.org"), text.clone(), refused()),
            (Some("ann@example.org"), jwt("ann@example.org"), account()),
            (None, jwt("Ann@example.org"), account()),
            (Some("bob@example.org"), jwt("ann@example.org"), refused()),
            (None, jwt("nobody@example.org"), refused()),
            (None, Secret::new("secret"), refused()),
        ] {
            let ask = SaslAsk::Token { login: login.map(str::to_owned), token };
            assert_eq!(block(both.answer(ask, PEER)), want, "{login:?}");
        }
        let unasked = block(none.answer(SaslAsk::Token { login: None, token: text.clone() }, PEER));
        assert_eq!(unasked, SaslAnswer::TokenRefused(wire::sasl::TokenError::default()));
        let as_password = |login| ask(&none, login, text.expose(), PEER);
        assert_eq!((as_password("ann@example.org"), as_password("bob@example.org")), (Ok(ann), Err(AuthError::Credentials)));
        tx(&store, move |tx| tx.account_set_enabled(ann, false));
        assert_eq!(block(both.answer(SaslAsk::Token { login: None, token: text }, PEER)), SaslAnswer::Refused(Failure::Disabled));
    }

    #[test]
    fn certificates_are_answered() {
        let (store, ann) = store();
        let authenticator = Authenticator::in_place(store);
        let account = || SaslAnswer::Account { account: ann.0, login: "ann@example.org".into() };
        let refused = || SaslAnswer::Refused(Failure::Credentials);
        for (login, addresses, want) in [
            (None, vec!["x@elsewhere.example", "ANN@example.org"], account()),
            (Some("ann@example.org"), vec!["Ann@Example.org"], account()),
            (Some("ann@example.org"), vec!["bob@example.org"], refused()),
            (Some("nobody@example.org"), vec!["nobody@example.org"], refused()),
            (None, vec!["alias@example.org"], refused()),
            (None, vec![], refused()),
        ] {
            let ask = SaslAsk::Certificate {
                login: login.map(str::to_owned),
                addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
            };
            assert_eq!(block(authenticator.answer(ask, PEER)), want, "{login:?} {addresses:?}");
        }
    }
}
