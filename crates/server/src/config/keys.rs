//! The reference of every key in the config file: name, type, default, meaning.
//!
//! `config schema` prints it and `docs/configuration.md` repeats it. A test holds it to
//! [`super::Config`]: a key that is missing here, or a default that differs, fails.

use serde::Serialize;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Dotted; `[]` after a table that may be given several times.
    pub name: &'static str,
    /// What may stand there, in a word or two.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// As it would be written; empty if there is none.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn key(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// The names of all keys.
pub fn names() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.name).collect()
}

/// Every key, in the order of the file.
pub const KEYS: &[Key] = &[
    key(
        "hostname",
        "host name",
        "",
        "The name this server gives itself in greetings and Received fields. Required; it should have an A or AAAA record.",
    ),
    key("data", "directory", "\"/var/lib/postrider\"", "Where mail, accounts and queue are kept."),
    key(
        "allow_plaintext_login",
        "list of networks",
        "[]",
        "Networks whose clients may send a password without TLS, e.g. [\"127.0.0.0/8\"].",
    ),
    key("relay_networks", "list of networks", "[]", "Networks whose hosts may send anywhere through the MX port without signing in."),
    key(
        "vrfy",
        "true | false",
        "false",
        "Whether VRFY tells users who signed in, and hosts of relay_networks, which addresses there are, and EXPN who is behind them. Others always hear 252 and 502.",
    ),
    key(
        "xclient_from",
        "list of networks",
        "[]",
        "Networks of SMTP proxies that may say by XCLIENT for whom they speak: address, name, login.",
    ),
    key(
        "subaddress.folders",
        "true | false",
        "false",
        "Put mail to user+detail@domain into the user's mailbox named by the detail, if there is one without a special use; else into the inbox.",
    ),
    key("subaddress.separators", "characters", "\"+\"", "The characters of which one stands between user and detail, e.g. \"+-\"."),
    key("dns", "list of address:port", "[]", "DNS resolvers to ask, e.g. [\"127.0.0.1:53\"]. Empty: the system's."),
    key("outbound_port", "port", "25", "Port on which the MX hosts of other domains are reached."),
    key(
        "own_names",
        "list of host names",
        "[]",
        "Names besides hostname under which MX records know this server: mail never goes from it to itself, nor as a backup to hosts that are not better.",
    ),
    key("source_address", "address", "", "Local address from which connections to other servers are made."),
    key(
        "tls.certificate",
        "file",
        "",
        "PEM file of the certificate and its chain. Without it a self-signed one is made in the data directory.",
    ),
    key("tls.key", "file", "", "PEM file of the certificate's private key."),
    key("tls.ca_file", "file", "", "PEM file of authorities to trust in outbound TLS besides the system's."),
    key(
        "transport.dnssec",
        "off | auto | validate | trust_resolver",
        "\"auto\"",
        "Who checks the signatures of DNS. validate: this server, always. auto: this server, once the resolvers have handed over the signed root zone. trust_resolver: the resolvers in dns, on a loopback address, by their AD bit.",
    ),
    key("transport.trust_anchors", "file", "", "File of DNSKEY records to trust instead of the keys of the DNS root, which are built in."),
    key("transport.dane", "true | false", "true", "Verify other servers by their TLSA records (DANE), where DNSSEC vouches for those."),
    key("transport.mta_sts", "true | false", "true", "Keep to the MTA-STS policies of other domains."),
    key("transport.https_port", "port", "443", "Port of the web servers that have MTA-STS policies."),
    key("transport.tls_reports", "true | false", "true", "Send daily reports of what became of TLS to the domains that ask for them."),
    key("transport.report_from", "address", "", "Author of those reports. Without it postmaster of the hostname."),
    key(
        "transport.own_mode",
        "enforce | testing | none",
        "\"testing\"",
        "Mode of the MTA-STS policy that an mta-sts listener serves for our domains.",
    ),
    key("transport.own_mx", "list of hosts", "[]", "Hosts in that policy: \"mx.example.org\" or \"*.example.org\". Empty: the hostname."),
    key("transport.own_max_age", "span", "\"7d\"", "How long other servers may remember that policy."),
    key(
        "authentication.check",
        "true | false",
        "true",
        "Find out who mail from other servers is from (SPF, DKIM, DMARC, ARC) and write it into an Authentication-Results field. Mail from loopback and relay networks is not asked.",
    ),
    key(
        "authentication.dmarc",
        "obey | junk | ignore",
        "\"obey\"",
        "What becomes of mail that its author's domain does not stand for. obey: what the domain asks, refused (550 5.7.1) or put into Junk. junk: put into Junk in both cases. ignore: only written down.",
    ),
    key(
        "authentication.public_suffixes",
        "true | false",
        "false",
        "Find the organization of a domain by the list of public suffixes (RFC 7489) instead of by its DNS records (RFC 9989).",
    ),
    key(
        "authentication.reports",
        "true | false",
        "true",
        "Send daily DMARC reports (RFC 9990) to the authors' domains that ask for them; transport.report_from is their author, too.",
    ),
    key(
        "authentication.wait",
        "span",
        "\"20s\"",
        "How long one message may wait for DNS; what is not answered by then counts as a failure of DNS.",
    ),
    key(
        "dkim.rotate",
        "span",
        "\"0s\"",
        "How old signing keys get before new ones are made (e.g. 180d); those sign once DNS has had their records for an hour, which the log asks for. 0s: only by hand (`postrider dkim rotate`).",
    ),
    key("dkim.keep", "span", "\"14d\"", "How long keys that no longer sign are kept before the schedule forgets them."),
    key(
        "filter.check",
        "true | false",
        "true",
        "Judge mail from other servers by rules and by what users have taught, and put what is unwanted into Junk. Mail from loopback and relay networks is not judged.",
    ),
    key(
        "filter.junk_points",
        "number",
        "5",
        "From so many points on mail goes into Junk. Lower: less spam in the inbox, more good mail in Junk.",
    ),
    key(
        "filter.reject_points",
        "number",
        "0",
        "From so many points on mail is refused (550 5.7.1), if it is that bad for each of its readers; above junk_points. 0: never.",
    ),
    key(
        "filter.learn",
        "true | false",
        "true",
        "Learn from what users do with their mail, about its words and about who brought it. What was learned stays.",
    ),
    key(
        "filter.traps",
        "list of addresses",
        "[]",
        "Spam traps: addresses of yours that nobody was ever given, e.g. [\"xk7@example.org\"]. Their mail is not kept; who brings it is learned, and what is for other users too gets 4 points.",
    ),
    key(
        "filter.first_contact",
        "off | slow | grey",
        "\"off\"",
        "What hosts meet that never brought mail from this sender to this user. slow: the end of the message is answered later. grey: 451 4.7.1 until they come again (greylisting). Senders to whom users have written, and hosts whose mail users wanted, never meet it.",
    ),
    key("filter.slow_by", "span", "\"15s\"", "How much later, with slow."),
    key("filter.grey_for", "span", "\"5m\"", "After how long they may come again, with grey."),
    key(
        "rejects.keep",
        "span",
        "\"14d\"",
        "How long mail that is refused for DMARC or its points is kept for the users it was for, in their mailbox Rejects. The sender is told that it was refused all the same. 0s: not at all.",
    ),
    key("rejects.messages", "number", "500", "Most messages in it that were refused; the oldest make room."),
    key("rejects.message_octets", "size", "\"10 MiB\"", "Larger messages are not kept."),
    key("rejects.octets", "size", "\"100 MiB\"", "Most octets of a user's refused messages; the oldest make room. They are in no quota."),
    key(
        "forwarding.rewrite_sender",
        "true | false",
        "true",
        "Rewrite the sender of mail that an alias leads elsewhere to an address of ours (SRS), so that SPF passes; what is returned to it goes back to the sender.",
    ),
    key(
        "forwarding.rewrite_domain",
        "domain",
        "",
        "The domain of rewritten senders; it must be one of ours. Without it that of the alias.",
    ),
    key(
        "forwarding.keep_unsurvivable",
        "true | false",
        "true",
        "Do not forward mail that would be refused for its author's DMARC policy: it stays in the mailbox of the alias, or with keep_at. If nobody here can keep it, it is sent all the same.",
    ),
    key("forwarding.keep_at", "address", "", "Whose mailbox keeps it where the alias leads to no mailbox here."),
    key("forwarding.seal", "true | false", "true", "Seal what is forwarded (ARC) with a signing key of the alias's domain."),
    key(
        "bounces.return_paths",
        "list of addresses and domains",
        "[]",
        "Senders whose mail gets a return path for each recipient (VERP), so that whatever comes back is known by its address: \"news@example.org\", \"example.org\", \"*.example.org\".",
    ),
    key(
        "bounces.suppress_after",
        "number",
        "2",
        "After so many failures because there is no such mailbox, an address gets no more mail of that user for a while (`postrider suppression`). 0: always.",
    ),
    key("bounces.suppress_within", "span", "\"30d\"", "Failures that are further apart do not count together."),
    key("bounces.suppress_for", "span", "\"30d\"", "How long such an address gets no mail."),
    key(
        "relay_fallback.hosts",
        "list of host[:port]",
        "[]",
        "Hosts that take the mail for domains whose servers refuse our IP address, tried in order, until direct delivery there works again. Empty: none.",
    ),
    key(
        "relay_fallback.tls",
        "none | opportunistic | required | implicit",
        "\"required\"",
        "Whether the connection to them is encrypted; required and implicit also check the certificate.",
    ),
    key("relay_fallback.credentials_file", "file", "", "File with the login on its first line and the password on its second."),
    key(
        "relay_fallback.probe",
        "span",
        "\"1h\"",
        "After this time one message tries the direct way again; the wait is doubled each time that it is in vain.",
    ),
    key("relay_fallback.probe_max", "span", "\"1d\"", "The longest wait until the direct way is tried again."),
    key(
        "queue.retry",
        "list of spans",
        "[\"5m\", \"10m\", \"20m\", \"40m\", \"1h\", \"2h\", \"3h\", \"4h\"]",
        "Waits between attempts; the last one is repeated until the lifetime ends.",
    ),
    key("queue.lifetime", "span", "\"5d\"", "How long delivery is tried before the message is returned to its sender."),
    key("queue.delay_warning", "span", "\"4h\"", "When the sender is told once that delivery takes long."),
    key("queue.connections", "number", "200", "Connections to other servers at once, in all."),
    key(
        "queue.connections_per_destination",
        "number",
        "20",
        "Connections at once to one destination, and to all destinations together that have the same first mail exchanger.",
    ),
    key(
        "queue.messages_per_connection",
        "number",
        "200",
        "Messages over one connection, also for several domains with the same mail exchangers.",
    ),
    key("queue.connect_timeout", "span", "\"30s\"", "How long a connection to another server may take to open."),
    key(
        "queue.hold",
        "span",
        "\"60d\"",
        "How far ahead users may submit mail that is to leave later (FUTURERELEASE); 0s does not offer it.",
    ),
    key(
        "queue.limits[].domains",
        "list of domains",
        "[]",
        "The limits are for each destination with mail for one of these domains: \"example.org\", or \"*.example.org\" for those below it. The first entry that fits counts.",
    ),
    key(
        "queue.limits[].mx",
        "list of hosts",
        "[]",
        "The limits are for all destinations together whose first mail exchanger is one of these: a provider. With neither list they are for each other destination.",
    ),
    key("queue.limits[].connections", "number", "", "Connections at once. Without it as queue.connections_per_destination."),
    key("queue.limits[].rate", "number/span", "", "Messages in a time, e.g. \"600/1h\", evenly spaced. Without it no limit."),
    key(
        "queue.limits[].messages_per_connection",
        "number",
        "",
        "Messages over one connection. Without it as queue.messages_per_connection.",
    ),
    key("limits.message_octets", "size", "\"50 MiB\"", "Largest message that is taken (SIZE)."),
    key("limits.connections", "number", "20000", "Connections at once, in all."),
    key("limits.connections_per_address", "number", "200", "Connections at once from one address."),
    key("limits.recipients", "number", "1000", "Recipients of one message; at least 100."),
    key("limits.smtp_idle", "span", "\"5m\"", "How long an SMTP client may be silent."),
    key("limits.imap_idle", "span", "\"30m\"", "How long an IMAP client may be silent."),
    key(
        "limits.imap_messages",
        "number",
        "0",
        "Messages that one IMAP command works on (MESSAGELIMIT), at least 1000; 0 is no limit. Mail programs that do not know of it see only the newest messages of larger mailboxes.",
    ),
    key("limits.pop3_idle", "span", "\"10m\"", "How long a POP3 client may be silent."),
    key("limits.shutdown", "span", "\"10s\"", "How long connections may go on after a request to stop."),
    key(
        "trail.keep",
        "span",
        "\"30d\"",
        "How long `trace` knows what became of a message after it was accepted; of one in the queue, as long as it is there.",
    ),
    key(
        "outbound.messages_per_hour",
        "number",
        "500",
        "Messages that a user may send within an hour; more are put off (450 4.7.1). 0: no limit. `postrider outbound limit` sets it for one user, as the next ones.",
    ),
    key("outbound.messages_per_day", "number", "2000", "The same within 24 hours."),
    key("outbound.recipients_per_hour", "number", "1000", "Recipients that a user may write to within an hour. 0: no limit."),
    key("outbound.recipients_per_day", "number", "5000", "The same within 24 hours."),
    key("outbound.new_recipients_per_day", "number", "2000", "The same, of recipients that the user never wrote to before."),
    key(
        "outbound.hold_unusual",
        "true | false",
        "true",
        "Keep what a user sends to other servers in the queue when it is unlike the user: far more than ever, to strangers, or much of it in vain. The user and postmaster are told; `postrider outbound release` lets it go.",
    ),
    key(
        "sign_in.throttle",
        "true | false",
        "true",
        "Let an address that fails to sign in wait before it tries again, each time longer, and ban it in the end; likewise wait tries at a user's login from addresses it never signed in from.",
    ),
    key(
        "sign_in.trusted_networks",
        "list of networks",
        "[]",
        "Networks that are never banned. Loopback, relay_networks and the proxies of listeners are not either, nor is an address from which somebody signed in within a day.",
    ),
    key(
        "sign_in.free_failures",
        "number",
        "5",
        "Failed sign-ins of an address (IPv6: a /64) before it has to wait; one is forgiven every 10 minutes.",
    ),
    key(
        "sign_in.ban_after",
        "number",
        "20",
        "Failed sign-ins of an address before it is banned from all ports where users sign in; 0: never. `postrider ban` shows and ends bans.",
    ),
    key("sign_in.ban", "span", "\"15m\"", "How long the first ban lasts; each further one lasts twice as long."),
    key("sign_in.ban_max", "span", "\"1d\"", "How long the longest ban lasts."),
    key(
        "oauth.own_tokens",
        "true | false",
        "false",
        "Offer OAUTHBEARER and XOAUTH2 with the tokens of `postrider token add`. As passwords those are always taken.",
    ),
    key(
        "oauth.issuer",
        "text",
        "",
        "Offer OAUTHBEARER and XOAUTH2 with signed tokens (JWT) of this identity provider, named as in their \"iss\".",
    ),
    key("oauth.keys_file", "file", "", "Its public keys, a JSON web key set (JWKS). Read again by `postrider reload`."),
    key("oauth.audience", "list of texts", "[]", "A token must be made for one of these (\"aud\"); required beside issuer."),
    key("oauth.login_claim", "text", "\"email\"", "Which claim of a token is the user's address."),
    key("oauth.scope", "text", "", "A scope that a token must have."),
    key("oauth.discovery_url", "https address", "", "The provider's OpenID configuration; clients with a bad token are told it."),
    key("pop3.login_delay", "span", "\"0s\"", "The least time between two logins of an account over POP3 (LOGIN-DELAY). 0s: none."),
    key(
        "pop3.expire_days",
        "number",
        "",
        "So many days after a POP3 client has fetched a message it is removed (EXPIRE); 0: when it leaves. Without it never.",
    ),
    key(
        "pop3.uidl_format",
        "dovecot | courier | cyrus | a form",
        "\"dovecot\"",
        "How POP3's unique ids are made of Uid (%u) and UIDVALIDITY (%v), as Dovecot's pop3_uidl_format; `user pop3` sets it for one account.",
    ),
    key("pop3.exclusive", "true | false", "true", "One POP3 session at a time has an account's mail (RFC 1939); false: any number."),
    key("pop3.language", "en | de", "\"en\"", "The language of POP3's replies until a client chooses one (LANG)."),
    key("log.level", "error | warn | info | debug | trace", "\"info\"", "How much is logged."),
    key("log.format", "text | json", "\"text\"", "The form of log lines."),
    key(
        "listener[].protocol",
        "smtp | submission | submissions | lmtp | imap | imaps | pop3 | pop3s | mta-sts | metrics",
        "",
        "What is spoken on the port. Without any [[listener]]: smtp, submission, submissions, imap, imaps and pop3s on their own ports of every address.",
    ),
    key("listener[].address", "address:port", "", "Address and port, e.g. \"[::]:25\"; port 0 takes a free one."),
    key(
        "listener[].proxy_protocol_from",
        "list of networks",
        "[]",
        "Networks whose connections begin with a PROXY protocol header (version 1 or 2).",
    ),
    key(
        "listener[].client_ca_file",
        "file",
        "",
        "PEM file of authorities whose TLS client certificates sign in by EXTERNAL; the address in the certificate is the user's. Without it none is asked for.",
    ),
    key(
        "list[].zone",
        "name",
        "",
        "A block or allow list in DNS, e.g. \"zen.spamhaus.org\"; asked about each stranger that connects. Mind its terms, and ask it through a resolver of your own: an answer that says otherwise (127.255.255.x) counts as no listing and is in the log. Every list is tried at the start and once a day; one that lists everything counts for nothing. See `postrider check dnsbl`.",
    ),
    key(
        "list[].of",
        "hosts | domains",
        "hosts",
        "What the list has entries of. A list of domains (e.g. \"dbl.spamhaus.org\") is asked about the registered domains of a message's links, of its author and of who stands for it (SPF, DKIM), at most 20; one with points below zero only about those that stand for it.",
    ),
    key(
        "list[].points",
        "number",
        "",
        "Points of mail from a listed host, or with a listed domain in it; below zero for a list of good ones.",
    ),
    key(
        "list[].codes",
        "list of networks",
        "[]",
        "Answers that count, e.g. [\"127.0.0.2\", \"127.0.0.4/30\"]. Empty: all within 127.0.0.0/8 that are no errors.",
    ),
    key(
        "route[].recipient_domains",
        "list of domains",
        "[]",
        "The route is for mail to these domains: \"example.org\", or \"*.example.org\" for those below it.",
    ),
    key(
        "route[].sender_domains",
        "list of domains",
        "[]",
        "The route is for mail from these domains. With neither list it is for all mail no other route fits.",
    ),
    key("route[].hosts", "list of host[:port]", "[]", "The hosts that take this mail, tried in order. Empty: by MX, as without a route."),
    key("route[].balanced", "true | false", "false", "Try the hosts in a random order."),
    key("route[].accept", "true | false", "false", "The MX port takes mail for these recipient domains from anyone, as a backup MX does."),
    key(
        "route[].recipients_file",
        "file",
        "",
        "With accept: file of the recipients there are, one address a line; mail for others is refused. Read again by `postrider reload`.",
    ),
    key(
        "route[].call_ahead",
        "true | false",
        "false",
        "With accept: ask the domain's own server whether there is such a recipient; if it does not answer, the mail is taken.",
    ),
    key(
        "route[].lifetime",
        "span",
        "",
        "With accept: how long mail for these domains is tried. Without it as long as other mail (queue.lifetime).",
    ),
    key(
        "route[].tls",
        "none | opportunistic | required | implicit",
        "\"opportunistic\"",
        "Whether the connection is encrypted; required and implicit also check the certificate.",
    ),
    key("route[].credentials_file", "file", "", "File with the login on its first line and the password on its second."),
    key("milter[].name", "text", "", "Its name in logs and trails; no blanks."),
    key(
        "milter[].address",
        "host:port | unix:/path",
        "",
        "Where it listens, e.g. \"127.0.0.1:11332\" or \"unix:/run/opendkim/opendkim.sock\".",
    ),
    key(
        "milter[].listeners",
        "list of mx | submission",
        "[\"mx\", \"submission\"]",
        "Whose mail it is asked about: other servers' (mx), our users' (submission).",
    ),
    key("milter[].connect_timeout", "span", "\"10s\"", "How long connecting to it may take."),
    key("milter[].timeout", "span", "\"30s\"", "How long its answer to a stage of the envelope may take."),
    key(
        "milter[].message_timeout",
        "span",
        "\"5m\"",
        "How long its answer to a message may take; one that reports progress gets longer, up to 9 minutes in all.",
    ),
    key(
        "milter[].on_failure",
        "tempfail | accept | reject",
        "\"tempfail\"",
        "What happens when it cannot be asked. tempfail: mail hears 451 and comes again. accept: mail goes on without its advice. reject: mail hears 554.",
    ),
    key("milter[].message_octets", "size", "\"50 MiB\"", "Larger messages go on without its advice."),
    key("mta_hook[].name", "text", "", "Its name in logs and trails; no blanks."),
    key(
        "mta_hook[].url",
        "http or https address",
        "",
        "Where requests go, e.g. \"http://127.0.0.1:8080/hook\". The certificate of https is checked.",
    ),
    key(
        "mta_hook[].stages",
        "list of connect | ehlo | mail | rcpt | data",
        "[\"data\"]",
        "Of which stages it hears; data is the whole message.",
    ),
    key(
        "mta_hook[].listeners",
        "list of mx | submission",
        "[\"mx\", \"submission\"]",
        "Whose mail it is asked about: other servers' (mx), our users' (submission).",
    ),
    key("mta_hook[].credentials_file", "file", "", "File with a login on its first line and a password on its second (Basic)."),
    key("mta_hook[].token_file", "file", "", "File with a token on its first line (Bearer)."),
    key("mta_hook[].connect_timeout", "span", "\"10s\"", "How long connecting to it may take."),
    key("mta_hook[].timeout", "span", "\"30s\"", "How long its answer may take."),
    key("mta_hook[].on_failure", "tempfail | accept | reject", "\"tempfail\"", "What happens when it cannot be asked, as for a milter."),
    key("mta_hook[].message_octets", "size", "\"50 MiB\"", "Larger messages go on without its advice."),
    key("source[].name", "text", "", "What `postrider source` calls it."),
    key(
        "source[].addresses",
        "list of addresses",
        "",
        "One local address, or one IPv4 and one IPv6 address, from which connections to mail exchangers are made.",
    ),
    key("source[].hostname", "host name", "", "The name in EHLO, which the PTR records of the addresses should give. Without it hostname."),
    key(
        "source[].senders",
        "list of addresses and domains",
        "[]",
        "Whose mail goes from it: \"news@example.org\", \"example.org\", \"*.example.org\". Several sources with the same senders share their mail. Empty: of all who have no source of their own.",
    ),
    key(
        "source[].warm_up_start",
        "day",
        "",
        "The first day (UTC) of a new address, e.g. \"2026-12-01\": from then on it sends more from day to day. Without it it sends as much as there is.",
    ),
    key(
        "source[].warm_up_per_day",
        "list of numbers",
        "[50, 100, 200, 400, 800, 1500, 3000, 6000, 12000, 25000, 50000, 100000]",
        "Recipients at one domain on the first day, the second, and so on; after the last as many as there are.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::{Config, Listener, Protocol, Route, RouteTls};
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    /// Every key set to something, so that none is left out when it is written.
    fn full() -> Config {
        let domain = mail::Domain::parse("h").unwrap();
        let mut config = Config::new(domain, PathBuf::from(super::super::DEFAULT_DATA));
        config.tls = toml::from_str("certificate = \"c\"\nkey = \"k\"\nca_file = \"a\"").unwrap();
        config.oauth =
            toml::from_str("issuer = \"i\"\nkeys_file = \"k\"\naudience = [\"a\"]\nscope = \"s\"\ndiscovery_url = \"https://d\"").unwrap();
        config.transport.trust_anchors = Some("t".into());
        config.transport.report_from = Some("a@b".to_owned());
        config.pop3.expire_days = Some(30);
        config.forwarding.rewrite_domain = Some("d".to_owned());
        config.forwarding.keep_at = Some("a@b".to_owned());
        config.relay_fallback.credentials_file = Some(PathBuf::from("f"));
        config.source_address = Some([127, 0, 0, 1].into());
        let mut listener = Listener::new(Protocol::Imap, "127.0.0.1:0".parse().unwrap());
        listener.proxy_protocol_from = vec!["10.0.0.0/8".parse().unwrap()];
        listener.client_ca_file = Some(PathBuf::from("c"));
        config.listener = vec![listener];
        let mut route: Route =
            toml::from_str("hosts = [\"h\"]\nrecipient_domains = [\"r\"]\naccept = true\ncredentials_file = \"f\"").unwrap();
        route.tls = RouteTls::Required;
        route.recipients_file = Some(PathBuf::from("r"));
        route.lifetime = Some(super::super::Span::days(30));
        config.route = vec![route];
        config.milter = vec![toml::from_str("name = \"m\"\naddress = \"unix:/m\"").unwrap()];
        let hook = "name = \"h\"\nurl = \"http://h/\"\ncredentials_file = \"c\"";
        config.mta_hook = vec![toml::from_str(hook).unwrap()];
        config.source =
            vec![toml::from_str("name = \"n\"\naddresses = [\"192.0.2.1\"]\nhostname = \"h\"\nwarm_up_start = \"2026-12-01\"").unwrap()];
        config.list = vec![toml::from_str("zone = \"l.example\"\npoints = 4\ncodes = [\"127.0.0.2\"]").unwrap()];
        config.queue.limits =
            toml::from_str::<toml::Table>("a = [{ domains = [\"d\"], connections = 1, rate = \"1/1s\", messages_per_connection = 1 }]")
                .unwrap()["a"]
                .clone()
                .try_into()
                .unwrap();
        config
    }

    fn leaves(prefix: &str, value: &toml::Value, out: &mut BTreeSet<String>) {
        let Some(table) = value.as_table() else {
            out.insert(prefix.to_owned());
            return;
        };
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value.as_array().and_then(|items| items.first()).filter(|first| first.is_table()) {
                Some(first) => leaves(&format!("{key}[]"), first, out),
                None => leaves(&key, value, out),
            }
        }
    }

    #[test]
    fn every_key_is_in_the_reference_and_no_other() {
        let mut written = BTreeSet::new();
        leaves("", &toml::Value::try_from(full()).unwrap(), &mut written);
        let known: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        // A route has one of the two lists, a hook one of the two files.
        written.extend(["route[].sender_domains", "mta_hook[].token_file"].map(str::to_owned));
        // And a limit one of its two lists.
        written.insert("queue.limits[].mx".to_owned());
        assert_eq!(written, known);
    }

    #[test]
    fn defaults_are_what_the_reference_says() {
        let default = Config::parse(Path::new("p"), "hostname = \"h\"").unwrap();
        let mut text = String::from("hostname = \"h\"\n");
        for key in KEYS.iter().filter(|key| !key.default.is_empty() && !key.name.contains("[]")) {
            text.extend([key.name, " = ", key.default, "\n"]);
        }
        assert_eq!(Config::parse(Path::new("p"), &text).unwrap(), default);
        assert_eq!(default, Config::new(default.hostname.clone(), default.data.clone()));
        let minimal = "hostname = \"h\"\n[[listener]]\nprotocol = \"smtp\"\naddress = \"[::1]:0\"\n[[route]]\n";
        let stated = format!(
            "{minimal}recipient_domains = []\nsender_domains = []\nhosts = []\nbalanced = false\naccept = false\ncall_ahead = false\ntls = \"opportunistic\"\n"
        )
        .replace("\"[::1]:0\"\n", "\"[::1]:0\"\nproxy_protocol_from = []\n");
        assert_eq!(Config::parse(Path::new("p"), minimal).unwrap(), Config::parse(Path::new("p"), &stated).unwrap());
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let config = full();
        assert_eq!(Config::parse(Path::new("p"), &toml::to_string(&config).unwrap()).unwrap(), config);
    }
}
