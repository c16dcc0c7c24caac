//! What a peer hears when we do not take something: every refusal of the mail path in one table.

use smtp::Reply;
use store::Error;

/// 550 5.7.1: neither are you one of ours, nor is the recipient (RFC 5321 §3.6.2).
pub(super) fn relaying() -> Reply {
    Reply::new(550, (5, 7, 1), "Relaying denied")
}

/// 550 5.6.0: a header whose lines end otherwise than others would see them (RFC 5321 §2.3.8); DATA takes no such message at all.
pub(super) fn bare() -> Reply {
    Reply::new(550, (5, 6, 0), "The header has a CR on its own; lines must end in CR LF")
}

/// 550 5.1.1: no such mailbox.
pub(super) fn unknown_user() -> Reply {
    Reply::new(550, (5, 1, 1), "No such user here")
}

/// 550 5.7.1: mail to the address failed too often, or an administrator wants none sent there.
pub(super) fn suppressed(words: &str) -> Reply {
    let words: String = words.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).take(400).collect();
    Reply::new(550, (5, 7, 1), words)
}

/// 550 5.7.1: a rewritten sender is for what is returned to it.
pub(super) fn reports_only() -> Reply {
    Reply::new(550, (5, 7, 1), "This address takes reports only")
}

/// 550 5.1.1: a rewritten sender leads back for some weeks only.
pub(super) fn too_late() -> Reply {
    Reply::new(550, (5, 1, 1), "This address was made for one message, too long ago")
}

/// 550 5.2.1: the account is switched off.
pub(super) fn disabled() -> Reply {
    Reply::new(550, (5, 2, 1), "This mailbox takes no mail")
}

/// 452 4.2.2 or 552 5.2.2: the mailbox is full.
pub(super) fn over_quota(permanent: bool) -> Reply {
    if permanent { Reply::new(552, (5, 2, 2), "The mailbox is full") } else { Reply::new(452, (4, 2, 2), "The mailbox is full") }
}

/// 553 5.7.1: an account sends as itself only (RFC 6409 §6.1).
pub(super) fn not_your_address() -> Reply {
    Reply::new(553, (5, 7, 1), "You may not send from this address")
}

/// 450 4.7.1: the account has sent as much as it may for now; `words` say how much that is.
pub(super) fn too_much(words: String) -> Reply {
    Reply::new(450, (4, 7, 1), words)
}

/// 451 4.7.1: a first contact that shall come again (RFC 6647 §2.1).
pub(super) fn come_again(wait: std::time::Duration) -> Reply {
    Reply::new(451, (4, 7, 1), format!("You are not known here yet: come again in {} seconds", wait.as_secs()))
}

/// 550 5.7.1: the author's domain wants mail that it does not stand for refused (RFC 9989 §5.3).
pub(super) fn unauthenticated(domain: &str) -> Reply {
    let domain: String = domain.chars().filter(char::is_ascii_graphic).take(255).collect();
    Reply::new(550, (5, 7, 1), format!("Not authenticated as from {domain}, whose DMARC policy is to reject such mail"))
}

/// 550 5.7.1: the filter takes it for spam, and the operator wants such mail refused.
pub(super) fn unwanted() -> Reply {
    Reply::new(550, (5, 7, 1), "Taken for spam")
}

/// 554 5.4.6: the message has passed too many servers (RFC 5321 §6.3).
pub(super) fn looping() -> Reply {
    Reply::new(554, (5, 4, 6), "Too many hops: this message is looping")
}

/// 552 5.3.4: the header is too large.
pub(super) fn header_too_large() -> Reply {
    Reply::new(552, (5, 3, 4), "The message's header is too large")
}

/// 503 5.5.1: there is no transaction. The session asks in order, so nobody should hear this.
pub(super) fn out_of_order() -> Reply {
    Reply::new(503, (5, 5, 1), "Bad sequence of commands")
}

/// What a failure of the store means: unknown is transient, so that the mail is kept where it is.
pub(super) fn from_store(error: &Error, over_quota_is_permanent: bool) -> Reply {
    match error {
        Error::Full => Reply::new(452, (4, 3, 1), "The system's storage is full"),
        Error::OverQuota { .. } | Error::TooManyEmails { .. } => over_quota(over_quota_is_permanent),
        Error::Closed => Reply::new(421, (4, 3, 2), "The system is shutting down"),
        _ => {
            tracing::error!(%error, "the store could not serve a receiver");
            Reply::new(451, (4, 3, 0), "A local error; try again later")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_store_are_transient_unless_told_otherwise() {
        for (error, permanent, want) in [
            (Error::Full, false, "452 4.3.1"),
            (Error::OverQuota { used_octets: 1, octets_max: 1 }, false, "452 4.2.2"),
            (Error::OverQuota { used_octets: 1, octets_max: 1 }, true, "552 5.2.2"),
            (Error::Closed, false, "421 4.3.2"),
            (Error::NotFound("account".into()), false, "451 4.3.0"),
            (Error::Corrupt { what: "x".into() }, true, "451 4.3.0"),
        ] {
            assert!(from_store(&error, permanent).to_string().starts_with(want), "{error}");
        }
    }
}
