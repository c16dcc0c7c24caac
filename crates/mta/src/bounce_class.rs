//! Why did another server not take a message? One class for it, and words for people. Pure.
//!
//! Codes alone say little: servers answer 550 5.7.1 to a spammer, to an address that does not exist and to a message that
//! is too large. So the text is looked at first, for what the large providers and the common servers say; then the
//! enhanced status (RFC 3463), then where in the session it happened.
//!
//! Not what follows: the class decides nothing about trying again, which is the reply's business.
//!
//! Invariant: a reply of which nothing is known is [`BounceClass::Unknown`], never the class of something worse.

use mail::EnhancedStatus;
use smtp::client::Stage;
use std::fmt;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BounceClass {
    /// There is no such mailbox.
    BadMailbox,
    /// There was one, but it takes no mail.
    InactiveMailbox,
    /// It is full.
    MailboxFull,
    /// The domain does not exist, or takes no mail.
    BadDomain,
    /// The server does not serve the domain.
    NotServed,
    /// Our IP address, or its name, is refused: block lists, reputation, missing PTR.
    OurAddressBlocked,
    /// The envelope's sender is refused.
    SenderRefused,
    /// SPF, DKIM or DMARC did not pass.
    Unauthenticated,
    /// The content is refused: spam, virus, attachment.
    ContentRefused,
    /// Refused by some policy that is not told.
    Policy,
    /// It is larger than the server takes.
    TooLarge,
    /// Put off because the server does not know us yet.
    Greylisted,
    /// Too much, too fast, or too many connections.
    RateLimited,
    /// The server has troubles of its own.
    ServerTrouble,
    /// The server did not understand, or does not have what the message needs.
    Protocol,
    /// Our login is refused.
    LoginRefused,
    /// It goes round in circles.
    Loop,
    /// DNS gave no answer.
    Dns,
    /// No TLS as it must be.
    Tls,
    /// No connection, or it broke.
    Connection,
    /// The time to deliver it is over.
    Expired,
    /// Mail to the address failed too often: it was not tried.
    Suppressed,
    /// Nothing is known.
    Unknown,
}

/// Every class with its name and what it means.
const CLASSES: [(BounceClass, &str, &str); 23] = [
    (BounceClass::BadMailbox, "bad-mailbox", "there is no such mailbox"),
    (BounceClass::InactiveMailbox, "inactive-mailbox", "the mailbox takes no mail any more"),
    (BounceClass::MailboxFull, "mailbox-full", "the mailbox is full"),
    (BounceClass::BadDomain, "bad-domain", "the domain does not exist, or takes no mail"),
    (BounceClass::NotServed, "not-served", "the server does not take mail for the domain"),
    (BounceClass::OurAddressBlocked, "our-address-blocked", "this server's IP address is blocked there"),
    (BounceClass::SenderRefused, "sender-refused", "the sender's address is refused"),
    (BounceClass::Unauthenticated, "unauthenticated", "the message could not be authenticated (SPF, DKIM, DMARC)"),
    (BounceClass::ContentRefused, "content-refused", "the content is refused, as spam, virus or attachment"),
    (BounceClass::Policy, "policy", "a policy of the server refuses it"),
    (BounceClass::TooLarge, "too-large", "the message is too large"),
    (BounceClass::Greylisted, "greylisted", "the server puts off whom it does not know yet"),
    (BounceClass::RateLimited, "rate-limited", "the server takes no more for now"),
    (BounceClass::ServerTrouble, "server-trouble", "the server has troubles of its own"),
    (BounceClass::Protocol, "protocol", "the server does not have what the message needs, or did not understand"),
    (BounceClass::LoginRefused, "login-refused", "the server refuses our login"),
    (BounceClass::Loop, "loop", "the message goes round in circles"),
    (BounceClass::Dns, "dns", "DNS gave no answer"),
    (BounceClass::Tls, "tls", "there is no TLS as it must be"),
    (BounceClass::Connection, "connection", "there is no connection, or it broke"),
    (BounceClass::Expired, "expired", "the time to deliver it is over"),
    (BounceClass::Suppressed, "suppressed", "mail to the address failed too often lately"),
    (BounceClass::Unknown, "unknown", "the reason is not known"),
];

impl BounceClass {
    /// Its name in trails, figures and JSON.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// What it means.
    pub fn words(self) -> &'static str {
        self.entry().2
    }

    /// The class of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        CLASSES.iter().find(|(_, known, _)| *known == name).map(|(class, ..)| *class)
    }

    /// Every class, in the order of [`BounceClass::place`].
    pub fn all() -> impl Iterator<Item = Self> {
        CLASSES.iter().map(|(class, ..)| *class)
    }

    /// Its place among all.
    pub const fn place(self) -> usize {
        self as usize
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        const UNKNOWN: &(BounceClass, &str, &str) = &(BounceClass::Unknown, "unknown", "the reason is not known");
        CLASSES.iter().find(|(class, ..)| *class == self).unwrap_or(UNKNOWN)
    }

    /// Whether it says that the recipient's address is no good, whoever writes.
    pub const fn blames_address(self) -> bool {
        matches!(self, Self::BadMailbox | Self::InactiveMailbox)
    }
}

/// How many classes there are.
pub const CLASSES_LEN: usize = CLASSES.len();

impl fmt::Display for BounceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a failure.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Where in the session, if that is known.
    pub stage: Option<Stage>,
    /// The reply's code; none: it was decided here.
    pub code: Option<u16>,
    /// Enhanced status.
    pub status: Option<EnhancedStatus>,
    /// The reply's text, or ours.
    pub text: &'a str,
}

/// The class of a failure.
pub fn classify(given: &Given<'_>) -> BounceClass {
    let text = given.text.to_lowercase();
    let found = if given.code.is_none() { by_our_words(&text) } else { by_words(&text) };
    let class = found.or_else(|| given.status.and_then(by_status)).or_else(|| by_stage(given));
    match (class, given.status) {
        // A domain of which nothing is known for now is not bad.
        (Some(BounceClass::BadDomain), Some(EnhancedStatus { class: 4, .. })) if given.code.is_none() => BounceClass::Dns,
        (class, _) => class.unwrap_or(BounceClass::Unknown),
    }
}

/// The class of a failure of which only the words are left: `550 5.1.1 No such user`, or ours.
pub fn of_words(words: &str) -> BounceClass {
    let (code, rest) = split(words, |word| word.parse().ok().filter(|code| (400..600).contains(code)));
    let (status, text) = split(rest, |word| word.parse().ok());
    classify(&Given { stage: None, code, status, text })
}

/// The first word, if it is of a kind, and the rest.
fn split<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> (Option<T>, &str) {
    let (word, rest) = text.split_once([' ', '-']).unwrap_or((text, ""));
    read(word).map_or((None, text), |read| (Some(read), rest))
}

/// One rule: all of these words of one of these lists are in the text.
type Rule = (BounceClass, &'static [&'static str]);

/// What servers say, the more telling first. `&` joins words that must all be there.
const SAID: &[Rule] = &[
    (
        BounceClass::Greylisted,
        &["greylist", "graylist", "grey list", "gray-list", "postgrey", "come back later", "deferred for policy reasons"],
    ),
    (
        BounceClass::RateLimited,
        &[
            "rate limit",
            "ratelimit",
            "rate-limit",
            "unusual rate",
            "too quickly",
            "too many connections",
            "too many concurrent",
            "too many messages",
            "too many mails",
            "too many spams",
            "too many recipients",
            "too many errors",
            "too much mail",
            "slow down",
            "throttl",
            "frequency limited",
            "unexpected volume",
            "temporarily deferred",
            "exceeded the rate",
            "maximum number of connections",
            "connection rate",
            "message rate",
            "concurrency limit",
            "server busy&4.7.",
            "sending quota",
        ],
    ),
    (
        BounceClass::TooLarge,
        &[
            "message size exceeds",
            "too large",
            "size limit",
            "maximum message size",
            "message too big",
            "exceeds size",
            "message is larger",
        ],
    ),
    (
        BounceClass::MailboxFull,
        &[
            "mailbox full",
            "mailbox is full",
            "over quota",
            "overquota",
            "quota exceeded",
            "exceeded storage",
            "out of storage",
            "insufficient disk quota",
            "quotaexceeded",
            "inbox is full",
            "mailbox for&is full",
        ],
    ),
    (
        BounceClass::Unauthenticated,
        &[
            "dmarc",
            "unauthenticated",
            "spf&fail",
            "spf check",
            "not authorized to send",
            "dkim",
            "authentication level",
            "unable to verify that this email",
            "5.7.26 ",
            "authentication checks",
        ],
    ),
    (
        BounceClass::LoginRefused,
        &[
            "authentication required",
            "authentication failed",
            "authentication credentials",
            "must be authenticated",
            "username and password not accepted",
        ],
    ),
    (
        BounceClass::ContentRefused,
        &[
            "virus",
            "malware",
            "infected",
            "content rejected",
            "content denied",
            "message content",
            "attachment",
            "spam message",
            "message looks like spam",
            "detected as spam",
            "identified as spam",
            "considered spam",
            "classified as spam",
            "likely unsolicited",
            "spamsignature",
            "high spam score",
            "spam score",
            "spam detected",
            "spam content",
            "dt:spm",
            "contains a url",
            "phishing",
            "message contains",
            "mail rejete",
            "suspected spam",
            "rejected as spam",
        ],
    ),
    (
        BounceClass::SenderRefused,
        &[
            "sender address rejected",
            "sender rejected",
            "sender verify",
            "sender verification",
            "verification failed for <",
            "callout",
            "invalid sender",
            "sender denied",
            "blocked sender",
            "sender is blocked",
            "sender&blacklisted",
            "domain of sender",
            "sender domain must",
            "email outgoing blocked",
            "mail from domain",
        ],
    ),
    (
        BounceClass::OurAddressBlocked,
        &[
            "blocked using",
            "black list",
            "blacklist",
            "blocklist",
            "block list",
            "blocked by&rbl",
            "dnsbl",
            "spamhaus",
            "spamcop",
            "banned sending ip",
            "client host rejected",
            "not accepted from this ip",
            "your ip",
            "ip=",
            "sending ip",
            "ip address&reputation",
            "ip reputation",
            "reverse dns",
            "ptr record",
            "without a valid sender domain",
            "ipcheck.proofpoint",
            "_is_blocked",
            "comcast block",
            "your network",
            "helo command rejected",
            "bad reputation",
            "poor reputation",
            "low reputation",
            "no smtp service",
            "cannot find your hostname",
            "connections from&not accepted",
            "ip address&blocked",
            "host&blocked",
        ],
    ),
    (
        BounceClass::InactiveMailbox,
        &[
            "account is disabled",
            "account disabled",
            "mailbox disabled",
            "account that you tried to reach is disabled",
            "is inactive",
            "account inactive",
            "user suspended",
            "account suspended",
            "mailbox is disabled",
            "no longer active",
            "no longer valid",
            "account has been&disabled",
            "user is terminated",
        ],
    ),
    (
        BounceClass::NotServed,
        &[
            "relay access denied",
            "relaying denied",
            "relay not permitted",
            "relaying not allowed",
            "not permitted to relay",
            "unable to relay",
            "relay denied",
            "cannot relay",
            "relaying prohibited",
            "not a valid domain here",
            "we do not relay",
            "relay disallowed",
        ],
    ),
    (BounceClass::Loop, &["too many hops", "mail loop", "routing loop", "loops back", "hop count exceeded", "looping"]),
    (
        BounceClass::BadMailbox,
        &[
            "user unknown",
            "unknown user",
            "unknown recipient",
            "recipient unknown",
            "unknown local",
            "no such user",
            "no such recipient",
            "no such mailbox",
            "no such address",
            "no such person",
            "no mailbox",
            "does not exist",
            "doesn't exist",
            "user not found",
            "recipient not found",
            "mailbox not found",
            "address not found",
            "recipientnotfound",
            "invalid recipient",
            "invalid mailbox",
            "mailbox unavailable",
            "unrouteable address",
            "not our customer",
            "doesn't have a&account",
            "does not have a&account",
            "not a known user",
            "not a valid mailbox",
            "not a valid user",
            "recipient address rejected: access denied",
            "recipient rejected",
            "undeliverable address",
            "address unknown",
            "unknown address",
            "bad destination mailbox",
            "user doesn't",
            "no valid recipient",
            "user invalid",
            "account not found",
        ],
    ),
    (
        BounceClass::ServerTrouble,
        &[
            "insufficient system",
            "local error",
            "temporary failure",
            "temporarily unavailable",
            "internal error",
            "internal resource",
            "try again later",
            "resources temporarily",
            "lookup failure",
            "shutting down",
            "server error",
            "not ready",
            "system storage is full",
            "service unavailable, try",
        ],
    ),
    (
        BounceClass::Policy,
        &[
            "policy",
            "policies",
            "access denied",
            "not accepted for",
            "administrative prohibition",
            "blocked",
            "prohibited",
            "rejected by",
            "banned",
            "spam",
        ],
    ),
];

/// What we say ourselves.
const OURS: &[Rule] = &[
    (BounceClass::Suppressed, &["is suppressed"]),
    (BounceClass::Expired, &["the time to deliver it is over", "the time by which it was to be delivered is over"]),
    (
        BounceClass::Tls,
        &["no tls with", "nothing is sent in clear", "tlsa records", "mta-sts", "tls is required", "requiretls", "starttls"],
    ),
    (BounceClass::Dns, &["no answer from dns", "dnssec"]),
    (BounceClass::BadDomain, &["takes no mail (null mx)", "does not exist", "neither a mail exchanger nor an address", "has no address"]),
    (BounceClass::Loop, &["the mail exchanger of&is this server"]),
    (BounceClass::MailboxFull, &["the mailbox is full"]),
    (BounceClass::BadMailbox, &["no such user here"]),
    (BounceClass::TooLarge, &["takes no message larger"]),
    (BounceClass::Protocol, &["does not take", "does not offer", "does not return", "took no recipient", "replies to what was not said"]),
    (BounceClass::LoginRefused, &["auth"]),
    (BounceClass::RateLimited, &["too many recipients", "may go from warm up"]),
    (BounceClass::Connection, &["no connection", "the connection", "took too long", "no host to try", "down or busy"]),
];

fn by_words(text: &str) -> Option<BounceClass> {
    found(SAID, text)
}

fn by_our_words(text: &str) -> Option<BounceClass> {
    found(OURS, text)
}

fn found(rules: &[Rule], text: &str) -> Option<BounceClass> {
    let fits = |words: &&str| words.split('&').all(|word| text.contains(word));
    rules.iter().find(|(_, words)| words.iter().any(fits)).map(|(class, _)| *class)
}

/// What an enhanced status says by itself (RFC 3463, RFC 7372, RFC 7505 and the registry of IANA).
fn by_status(status: EnhancedStatus) -> Option<BounceClass> {
    Some(match (status.class, status.subject, status.detail) {
        (_, 1, 0 | 1 | 3 | 6) | (5, 4, 1) => BounceClass::BadMailbox,
        (_, 1, 2 | 10) | (5, 4, 4) => BounceClass::BadDomain,
        (_, 1, 7 | 8) => BounceClass::SenderRefused,
        (4, 2, 0) | (4, 7, 0 | 1) => BounceClass::Greylisted,
        (4, 2, 1) | (4, 4, 5) => BounceClass::RateLimited,
        (5, 2, 1) => BounceClass::InactiveMailbox,
        (_, 2, 2) => BounceClass::MailboxFull,
        (_, 2, 3) | (_, 3, 4) => BounceClass::TooLarge,
        (4, 3, _) => BounceClass::ServerTrouble,
        (_, 3, 3) | (_, 5, _) | (_, 6, 1 | 7 | 9) => BounceClass::Protocol,
        (_, 4, 1 | 2) => BounceClass::Connection,
        (_, 4, 3 | 4) => BounceClass::Dns,
        (_, 4, 6) => BounceClass::Loop,
        (_, 4, 7) => BounceClass::Expired,
        (_, 6, _) => BounceClass::ContentRefused,
        (_, 7, 20..=24 | 26 | 27 | 29) => BounceClass::Unauthenticated,
        (_, 7, 25) => BounceClass::OurAddressBlocked,
        (_, 7, 5 | 10 | 30) => BounceClass::Tls,
        (_, 7, 8) => BounceClass::LoginRefused,
        (_, 7, _) => BounceClass::Policy,
        _ => return None,
    })
}

/// What the place says where nothing else does.
fn by_stage(given: &Given<'_>) -> Option<BounceClass> {
    let class = match (given.stage?, given.code?) {
        (Stage::Greeting, 554 | 550 | 521) => BounceClass::OurAddressBlocked,
        (_, 421 | 451 | 452) => BounceClass::ServerTrouble,
        (_, 500..=504 | 555) => BounceClass::Protocol,
        (_, 552) => BounceClass::TooLarge,
        (Stage::Auth, _) => BounceClass::LoginRefused,
        (Stage::StartTls, _) => BounceClass::Tls,
        (Stage::Mail, 550 | 553) => BounceClass::SenderRefused,
        (Stage::Rcpt, 550 | 551 | 553) => BounceClass::BadMailbox,
        (Stage::Rcpt, 450) => BounceClass::Greylisted,
        (Stage::EndOfData, 550 | 554) => BounceClass::ContentRefused,
        _ => return None,
    };
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_class_has_its_place_and_its_own_name() {
        let names: BTreeSet<_> = BounceClass::all().map(BounceClass::name).collect();
        assert_eq!(names.len(), CLASSES_LEN);
        for (place, class) in BounceClass::all().enumerate() {
            assert_eq!((class.place(), BounceClass::by_name(class.name())), (place, Some(class)));
        }
    }

    #[test]
    fn our_own_words_are_classified() {
        for (words, want) in [
            ("no connection to mx.b.example: Connection refused (os error 111)", "connection"),
            ("the connection broke: the peer closed the connection", "connection"),
            ("The server took too long", "connection"),
            ("not tried: its destination is down or busy", "connection"),
            ("no TLS with mx.b.example: invalid peer certificate: Expired", "tls"),
            ("no answer from DNS about b.example: SERVFAIL", "dns"),
            ("the domain b.example does not exist", "bad-domain"),
            ("b.example says in DNS that it takes no mail (null MX)", "bad-domain"),
            ("mx.b.example has no address: no such name", "bad-domain"),
            ("the mail exchanger of b.example is this server, but the domain is not served here", "loop"),
            ("The server takes no message larger than 1000 octets", "too-large"),
            ("The server does not take binary messages", "protocol"),
            ("the time to deliver it is over; the last attempt: no connection", "expired"),
            ("bob@b.example is suppressed until tomorrow", "suppressed"),
            ("the addresses it may go from warm up and have sent to this domain what they may today", "rate-limited"),
            ("no such user here", "bad-mailbox"),
            ("the mailbox is full", "mailbox-full"),
            ("something else", "unknown"),
        ] {
            assert_eq!(of_words(words).name(), want, "{words}");
        }
    }

    /// Replies as they are seen in the wild; the first column is the stage.
    #[test]
    fn what_servers_say_is_classified() {
        let table = include_str!("../tests/bounce_classes.txt");
        let mut wrong = Vec::new();
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut parts = line.splitn(3, " | ");
            let (want, stage, reply) = (parts.next().unwrap().trim(), parts.next().unwrap().trim(), parts.next().unwrap());
            let stage = match stage {
                "greeting" => Stage::Greeting,
                "helo" => Stage::Helo,
                "mail" => Stage::Mail,
                "rcpt" => Stage::Rcpt,
                "data" => Stage::Data,
                "end" => Stage::EndOfData,
                "auth" => Stage::Auth,
                other => panic!("{other}"),
            };
            let (code, rest) = split(reply, |word| word.parse::<u16>().ok());
            let (status, text) = split(rest, |word| word.parse::<EnhancedStatus>().ok());
            let got = classify(&Given { stage: Some(stage), code, status, text });
            if got.name() != want {
                wrong.push(format!("{got} instead of {want}: {reply}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
