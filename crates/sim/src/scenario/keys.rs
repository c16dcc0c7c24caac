//! The reference of every key of a scenario file: for `docs/simulation.md` and for hints.
//!
//! Invariant: these are the keys that serde knows; a test holds them to each other.

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted, `[]` behind a table that can be there many times.
    pub name: &'static str,
    /// What stands in it where it is not written; empty: it must be written, or nothing.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning }
}

/// Every key, by table.
pub const KEYS: &[Key] = &[
    key("description", "", "What the file shows, in a sentence."),
    key("seed", "1", "Everything that is left to chance follows from it; `--seed` says another."),
    key("deadline", "10d", "When it ends at the latest, in its own time. It ends before when everything is sent and every queue is empty."),
    key("host[].name", "", "What the server calls itself; its name in DNS. Must be written."),
    key("host[].domains", "[]", "Domains whose mail it keeps."),
    key("host[].accounts", "[]", "Addresses with a mailbox at it."),
    key("host[].backup_for", "[]", "Domains whose mail it takes and passes on to their better exchangers."),
    key("host[].mx", "10", "The preference of its MX records, for its domains and those that it is a backup for."),
    key("host[].relay", "false", "It takes mail for everybody from every host."),
    key("host[].smarthost", "", "It hands all mail for others to the host of this name."),
    key(
        "host[].tls",
        "none",
        "What it shows to who asks for STARTTLS: `none` (it is not offered), `good`, `expired`, `other-name`, `self-signed`.",
    ),
    key("host[].dane", "false", "Its names are signed, and TLSA records name its certificate."),
    key("host[].mta_sts", "", "Its domains have an MTA-STS policy that names it: `testing` or `enforce`."),
    key(
        "host[].withholds",
        "[]",
        "Extensions that it does not offer: `chunking`, `smtputf8`, `dsn`, `requiretls`, `limits`, `mt-priority`, `deliver-by`.",
    ),
    key("host[].recipients_max", "1000", "Most recipients of one transaction."),
    key("host[].latency", "0s", "How long a connection to it takes to make, beyond some milliseconds that all take."),
    key("host[].retry", "5m, 10m … 4h", "Waits between attempts of its queue; the last one is repeated."),
    key("host[].lifetime", "5d", "How long its queue tries."),
    key("host[].delay_warning", "4h", "When its senders are told that it takes long."),
    key("host[].connections_per_destination", "20", "Connections at once that it makes to one destination."),
    key("domain[].name", "", "A domain that no host serves. Must be written."),
    key(
        "domain[].dns",
        "",
        "`null-mx`, `missing` (no such domain), `servfail`, `dangling` (its exchanger has no address), `black-hole` (at its exchanger nobody answers), `refused`. Must be written.",
    ),
    key("traffic[].from", "", "Who sends: an account of a host. Must be written."),
    key("traffic[].to", "", "To whom: addresses of anybody. Must be written."),
    key("traffic[].messages", "1", "How many messages."),
    key("traffic[].recipients", "1", "To how many of `to` each goes; chance has it which."),
    key("traffic[].start", "0s", "When the first is sent."),
    key("traffic[].every", "1s", "How long after it the next."),
    key("traffic[].octets", "[200, 200]", "The least and the most octets of each text; chance has it how many."),
    key("fault[].kind", "", "What goes wrong; see below. Must be written."),
    key("fault[].host", "", "At which host."),
    key("fault[].domain", "", "Of which domain, for faults of DNS."),
    key("fault[].percent", "100", "How often, of 100 times."),
    key("fault[].delay", "", "How long a fault that is a delay delays."),
    key("fault[].tls", "", "What a fault of the kind `certificate` has the host show."),
    key("fault[].to", "", "Which host DNS names, for `lying-mx`."),
    key("fault[].from", "0s", "From when on."),
    key("fault[].until", "", "Until when; to the end where it is not written."),
    key("fault[].every", "", "It comes again after this time."),
    key("fault[].lasting", "", "For how long each time; of a crash, how long the server is down (30s)."),
    key("expect.order", "false", "Between a sender and a recipient mail comes in the order in which it was sent."),
    key("expect.quiet", "false", "Every queue is empty at the end."),
    key("expect.wait_max", "", "No recipient waits longer for what is delivered."),
    key("expect.destination[].domain", "", "The recipients' domain. Must be written."),
    key("expect.destination[].wait_max", "", "No recipient of it waits longer for what is delivered."),
    key("expect.destination[].delivered_min", "", "So many of its recipients at least have their mail at the end."),
    key("expect.destination[].bounced_min", "", "To so many at least it came back."),
    key("expect.destination[].bounced_max", "", "To so many at most it came back."),
    key("expect.sender[].address", "", "Who sends. Must be written."),
    key("expect.sender[].wait_max", "", "No recipient of theirs waits longer for what is delivered. Must be written."),
];

/// What each kind of fault does.
pub const FAULTS: &[(&str, &str)] = &[
    ("refuse", "Connections are refused."),
    ("black-hole", "Connections are answered by nobody."),
    ("busy", "Connections are greeted with 421."),
    ("defer-recipients", "Recipients are answered with 450."),
    ("defer-messages", "Messages are answered with 451."),
    ("refuse-messages", "Messages are answered with 554."),
    ("cut-sending", "Connections break while something is sent."),
    ("cut-receiving", "Connections break while a reply is awaited."),
    ("tarpit", "Every command waits `delay` for its reply."),
    ("slow", "Every message waits `delay` before it is taken."),
    ("late-reply", "Every message that was taken waits `delay` for the words that say so."),
    ("certificate", "Another certificate is shown, `tls`, or none."),
    ("servfail", "Questions about `domain` fail."),
    ("bogus", "What DNS says of `domain` is bogus (DNSSEC)."),
    ("null-mx", "DNS says that `domain` takes no mail."),
    ("lying-mx", "DNS names the host `to` as the exchanger of `domain`."),
    ("disk-full", "The disk is full."),
    ("disk-error", "One write fails, at random among the next 40; the server goes on as it can."),
    ("crash", "The process dies at a random one of its next 40 writes, and is started again after `lasting`."),
    (
        "power-cut",
        "The power goes at a random one of its next 40 writes: what was not synced is kept, lost or torn. It comes back after `lasting`.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;
    use crate::scenario::{ExpectDestination, ExpectSender, Fault, FaultKind};
    use serde::Deserialize;
    use std::collections::BTreeSet;

    /// The names that serde lists when it meets one that it does not know.
    fn listed<T: for<'de> Deserialize<'de> + std::fmt::Debug>(text: &str) -> Vec<String> {
        let error = toml::from_str::<T>(text).unwrap_err().to_string();
        let (_, list) = error.split_once("expected ").expect(&error);
        list.lines().next().unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_keys_are_those_that_serde_knows() {
        use crate::scenario::{DomainPlan, Expect, HostPlan, Traffic};
        let is_table = |table: &str, name: &str| match table {
            "" => ["host", "domain", "traffic", "fault", "expect"].contains(&name),
            "expect." => ["destination", "sender"].contains(&name),
            _ => false,
        };
        let known: [(&str, Vec<String>); 8] = [
            ("", listed::<Scenario>("x = 1")),
            ("host[].", listed::<HostPlan>("x = 1")),
            ("domain[].", listed::<DomainPlan>("x = 1")),
            ("traffic[].", listed::<Traffic>("x = 1")),
            ("fault[].", listed::<Fault>("x = 1")),
            ("expect.", listed::<Expect>("x = 1")),
            ("expect.destination[].", listed::<ExpectDestination>("x = 1")),
            ("expect.sender[].", listed::<ExpectSender>("x = 1")),
        ];
        let leaf = |(table, name): (&str, String)| (!is_table(table, &name)).then(|| format!("{table}{name}"));
        let known: BTreeSet<String> =
            known.into_iter().flat_map(|(table, names)| names.into_iter().map(move |name| (table, name))).filter_map(leaf).collect();
        let told: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(told, known);
    }

    #[test]
    fn the_kinds_of_faults_are_those_that_serde_knows() {
        #[derive(Debug, Deserialize)]
        struct Kind {
            #[expect(dead_code, reason = "only its names are asked for")]
            kind: FaultKind,
        }
        let told: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(told, listed::<Kind>("kind = \"x\""));
    }
}
