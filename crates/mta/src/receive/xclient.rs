//! XCLIENT: a proxy of ours speaks for somebody else. From then on that one is the peer, for every check; what was said
//! before is forgotten.

use super::Receiver;
use crate::advisers::Advisers;
use mail::AccountId;
use smtp::Reply;
use smtp::server::{Answer, ClientClaim};
use store::auth::SignIn;

impl Receiver {
    pub(super) fn speaks_for(&mut self, claim: &ClientClaim) -> Answer {
        let account = match &claim.login {
            None => None,
            Some(login) => match self.account_signed_in(login) {
                Ok(account) => Some(account),
                Err(refused) => return self.reply(refused),
            },
        };
        tracing::info!(proxy = %self.peer, %claim, "speaks for another");
        self.peer = claim.address.unwrap_or(self.peer);
        // Failed sign-ins count for who it speaks for.
        self.sign_in = SignIn::new(self.context.authenticator.clone(), Some(self.peer));
        self.peer_name.clone_from(&claim.name);
        self.helo.clear();
        self.account = account;
        (self.login, self.mechanism) = (claim.login.clone(), "PLAIN");
        // They are told of another client, over new connections.
        self.advisers = Advisers::new(&self.context, self.role);
        self.transaction = None;
        self.ask_lists();
        Answer::Taken
    }

    /// Whom the proxy has signed in: it knew the password, we know whether the account may.
    fn account_signed_in(&self, login: &str) -> Result<AccountId, Reply> {
        match self.context.store.read_short(|tx| tx.account_by_login(login)) {
            Ok(Some(account)) if account.enabled => Ok(account.id),
            Ok(_) => Err(Reply::new(535, (5, 7, 8), "There is no such account, or it may not sign in")),
            Err(error) => Err(super::refusal::from_store(&error, false)),
        }
    }
}
