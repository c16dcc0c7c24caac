//! MAIL: may this sender begin?

use super::{Receiver, Transaction, refusal};
use mail::Priority;
use smtp::Reply;
use smtp::server::{MailCommand, Role};

impl Receiver {
    pub(super) fn mail(&mut self, mut command: MailCommand) -> Reply {
        if let Err(refused) = self.may_send(&command) {
            return refused;
        }
        let granted = self.granted(command.terms.priority);
        let lowered = granted != command.terms.priority;
        command.terms.priority = granted;
        self.transaction = Some(Transaction {
            ahead: self.ahead(&command.reverse_path),
            mail: command,
            recipients: Vec::new(),
            refused: Vec::new(),
            allowance: None,
            traps: Vec::new(),
            incoming: super::data::Incoming::default(),
            receipt: None,
        });
        if lowered {
            return Reply::new(250, (2, 3, 6), format!("{granted} is the new priority assigned to the message"));
        }
        Reply::new(250, (2, 1, 0), "OK")
    }

    /// Only those whom we know may be more urgent than others (RFC 6710 §5.1).
    fn granted(&self, asked: Priority) -> Priority {
        let known = self.account.is_some() || self.role == Role::Lmtp || self.is_relay();
        if known { asked } else { asked.min(Priority::NORMAL) }
    }

    fn may_send(&self, command: &MailCommand) -> Result<(), Reply> {
        let (Role::Submission, Some(sender)) = (self.role, command.reverse_path.0.clone()) else { return Ok(()) };
        let Some(account) = self.account else { return Err(Reply::new(530, (5, 7, 0), "Authentication required")) };
        match self.context.store.read_short(|tx| tx.may_send_as_by(account, &sender, &self.context.settings.receive.subaddress.separators))
        {
            Ok(true) => Ok(()),
            Ok(false) => Err(refusal::not_your_address()),
            Err(error) => Err(refusal::from_store(&error, false)),
        }
    }
}
