//! CAPABILITY (RFC 9051 §6.1.1): what this server can do, before and after login.

use crate::imap::commands::message_limit;
use crate::imap::limits::Config;
use std::fmt::Write as _;
use wire::Tls;
use wire::sasl::Mechanism;

/// What is offered in every state.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";

/// What is offered after login; one a line, so that what is added in parallel does not collide.
#[rustfmt::skip]
const AFTER_LOGIN: &[&str] = &[
    "IDLE",
    "NAMESPACE",
    "UIDPLUS",
    "MOVE",
    "UNSELECT",
    "CHILDREN",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "CONDSTORE",
    "QRESYNC",
    "ESEARCH",
    "SEARCHRES",
    "WITHIN",
    "STATUS=SIZE",
    "SAVEDATE",
    "OBJECTID",
    "PREVIEW",
    "BINARY",
    "UTF8=ACCEPT",
    "MULTIAPPEND",
    "CATENATE",
    "REPLACE",
    "SORT",
    "SORT=DISPLAY",
    "SEARCH=FUZZY",
    "ESORT",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "THREAD=REFS",
    "I18NLEVEL=1",
    "PARTIAL",
    "ACL",
    "RIGHTS=kxte",
    "LIST-MYRIGHTS",
    "METADATA",
    "LIST-METADATA",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
    "QUOTASET",
    "UNAUTHENTICATE",
    "UIDONLY",
    "UIDBATCHES",
    "INPROGRESS",
    "MULTISEARCH",
    "COMPRESS=DEFLATE",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "NOTIFY",
    "XLIST",
];

/// The capabilities of a connection that is not logged in, without the word CAPABILITY.
pub fn before_login(config: &Config, tls: Option<&Tls>) -> String {
    let mut text = ALWAYS.to_owned();
    if config.starttls && tls.is_none() {
        text.push_str(" STARTTLS");
    }
    for mechanism in offered(config, tls) {
        let _ = write!(text, " AUTH={mechanism}");
    }
    if !passwords_allowed(config, tls) {
        text.push_str(" LOGINDISABLED");
    }
    text
}

/// The capabilities after login, without the word CAPABILITY.
pub fn after_login(config: &Config) -> String {
    let limits = &config.limits;
    let jmap = if config.jmap_url.is_some() { " JMAPACCESS" } else { "" };
    format!("{ALWAYS} {} APPENDLIMIT={} {}{jmap}", AFTER_LOGIN.join(" "), limits.append_octets_max, message_limit::capability(limits))
}

/// The same without IMAP4rev2 ([`crate::imap::quirks`]).
pub fn without_rev2(capabilities: &str) -> String {
    capabilities.replace(" IMAP4rev2", "")
}

/// The mechanisms of AUTHENTICATE on this connection.
pub fn offered<'a>(config: &'a Config, tls: Option<&'a Tls>) -> impl Iterator<Item = Mechanism> + 'a {
    let passwords = passwords_allowed(config, tls);
    config.mechanisms.iter().copied().filter(move |mechanism| mechanism.available(tls) && (passwords || !mechanism.shows_password()))
}

/// Whether a password may be shown to whoever reads the wire.
pub fn passwords_allowed(config: &Config, tls: Option<&Tls>) -> bool {
    tls.is_some() || config.plaintext_login
}
