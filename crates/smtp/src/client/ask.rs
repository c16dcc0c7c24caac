//! What a client session asks, what it is answered, and what became of a message.

use crate::Reply;
use mail::{BodyType, EnhancedStatus, Envelope, Terms, Timestamp};
use std::fmt;
use wire::Tls;

/// A question of the client session.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// The connection is ready: what is to be sent? [`Answer::Message`] or [`Answer::Quit`].
    Next,
    /// The server cannot take the message at hand as it is: it is wanted as lines of 8 bits or of 7.
    /// [`Answer::Message`] with the same envelope but `body`, and the size it then has; [`Answer::Unfit`]: it cannot be
    /// converted.
    Convert(BodyType),
    /// The message's octets from here on; [`Answer::Chunk`], empty at its end.
    Body {
        /// Octets already handed over.
        offset: u64,
    },
    /// What became of the transaction; [`Answer::Taken`]. Asked exactly once for each [`Answer::Message`],
    /// unless the socket itself fails: then nothing is known and all recipients count as transient.
    Outcome(TransactionOutcome),
    /// The session ended before any [`Ask::Next`] was answered with a message, or between two of them: no
    /// transaction was open. [`Answer::Taken`].
    Failed(Outcome),
}

/// An answer to the session's question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A message to send.
    Message(Transaction),
    /// Nothing more: QUIT.
    Quit,
    /// The message cannot be converted.
    Unfit,
    /// Octets of the message, any number (65,536 is a good one); empty: that was all.
    Chunk(Vec<u8>),
    /// The message cannot be read: the transaction is given up, all recipients are transient.
    Abort,
    /// Go on.
    Taken,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// From whom, to whom. `body` says whether the message has 8-bit octets, `smtputf8` whether its header has.
    pub envelope: Envelope,
    /// The message's size in octets, exactly: BDAT promises it.
    pub octets: u64,
    /// What its sender asks of the time.
    pub terms: Terms,
    /// What time it is.
    pub now: Timestamp,
}

/// What became of one transaction.
#[derive(PartialEq, Eq)]
pub struct TransactionOutcome {
    /// One for each recipient, in the envelope's order.
    pub recipients: Vec<Outcome>,
    /// The TLS it went over, if any.
    pub tls: Option<Tls>,
    /// Whether the server offers DSN: success is then its to report (RFC 3461 §5.2.2), else ours as relayed.
    pub dsn: bool,
    /// Whether the server offers DELIVERBY and heard until when (RFC 2852): if not, the sender is told.
    pub deliver_by: bool,
    /// Whether the connection can take another message: [`Ask::Next`] follows.
    pub reusable: bool,
}

/// What became of one recipient, or of a whole connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether to be happy, to try again or to give up.
    pub class: Class,
    /// When it was decided.
    pub stage: Stage,
    /// By whom.
    pub cause: Cause,
}

/// Whether to be happy, to try again or to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The server took responsibility.
    Delivered,
    /// It may work later, or over another server.
    Transient,
    /// It will never work.
    Permanent,
}

/// The stage of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the greeting.
    Greeting,
    /// EHLO, HELO, LHLO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// Between two messages. A transaction that fails here was never heard of by the server: its old connection
    /// had ended meanwhile, and a new one can be tried at once.
    Idle,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA or BDAT, before the message's end.
    Data,
    /// The end of the message.
    EndOfData,
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The server, by this reply.
    Reply(Reply),
    /// We: the connection broke, the time was up, the server lacks an extension.
    Ours {
        /// The status for a report.
        status: EnhancedStatus,
        /// In words.
        text: String,
    },
}

impl Outcome {
    /// What the server's reply means: 2xx to the end of the message is delivered, 5xx permanent, anything else
    /// transient.
    ///
    /// 552 to RCPT without a better status means too many recipients (RFC 5321 §4.5.3.1.10): transient.
    pub fn from_reply(stage: Stage, reply: Reply) -> Self {
        let status = reply.status.map(|status| (status.subject, status.detail));
        let class = match reply.code {
            200..300 if stage == Stage::EndOfData => Class::Delivered,
            552 if stage == Stage::Rcpt && matches!(status, None | Some((5, 3))) => Class::Transient,
            500..600 => Class::Permanent,
            _ => Class::Transient,
        };
        Self { class, stage, cause: Cause::Reply(reply) }
    }

    /// A failure of our own making; its class is that of the status.
    pub fn ours(stage: Stage, status: (u8, u16, u16), text: impl Into<String>) -> Self {
        let class = if status.0 == 5 { Class::Permanent } else { Class::Transient };
        let status = EnhancedStatus::new(status.0, status.1, status.2);
        Self { class, stage, cause: Cause::Ours { status, text: text.into() } }
    }

    /// The enhanced status: the server's if it gave one of the right class, else ours, else `class.0.0`.
    pub fn status(&self) -> EnhancedStatus {
        let class = match self.class {
            Class::Delivered => 2,
            Class::Transient => 4,
            Class::Permanent => 5,
        };
        match &self.cause {
            Cause::Ours { status, .. } => *status,
            Cause::Reply(Reply { status: Some(status), .. }) if status.class == class => *status,
            Cause::Reply(_) => EnhancedStatus::new(class, 0, 0),
        }
    }
}

/// `deliver_by` only where it is.
impl fmt::Debug for TransactionOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TransactionOutcome");
        shown.field("recipients", &self.recipients).field("tls", &self.tls).field("dsn", &self.dsn);
        if self.deliver_by {
            shown.field("deliver_by", &true);
        }
        shown.field("reusable", &self.reusable).finish()
    }
}

/// `Delivered at EndOfData: 250 2.0.0 OK`
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: ", self.class, self.stage)?;
        match &self.cause {
            Cause::Reply(reply) => write!(f, "{reply}"),
            Cause::Ours { status, text } => write!(f, "[{status} {text}]"),
        }
    }
}
