//! The config's words about the mail path, turned into `mta`'s settings: limits, schedule, routes.

use crate::config::{Authentication, Config, Dmarc, QueueLimit, RelayFallback, Route, RouteTls};
use crate::failure::{Failure, Result};
use mta::route::{Backup, Known, Matching, Next, Pattern, Rule, Smarthost, Target, Tls};
use mta::settings::Fallback;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use wire::sasl::Secret;
use wire::sasl::client::Credentials;

/// The mail path's settings.
///
/// # Errors
/// When a file of credentials cannot be read.
pub fn settings(config: &Config) -> Result<mta::Settings> {
    let mut settings = mta::Settings::new(config.hostname.clone());
    settings.receive.relay_networks = config.relay_networks.iter().map(|network| network.0).collect();
    settings.receive.authentication = authentication(&config.authentication);
    settings.receive.verify = config.vrfy;
    settings.outbound = config.outbound.settings();
    settings.receive.subaddress.folders = config.subaddress.folders;
    settings.receive.subaddress.separators.clone_from(&config.subaddress.separators);
    settings.receive.advisers = crate::advisers::advisers(config)?;
    settings.receive.filter = filter(config);
    settings.receive.rejects = config.rejects.settings();
    settings.queue.retry = config.queue.retry.iter().map(|wait| wait.0).collect();
    // A host that does not answer is not left alone for longer than the operator wants to wait.
    let (first, last) = (settings.queue.retry.first(), settings.queue.retry.iter().max());
    settings.queue.down_initial = first.map_or(settings.queue.down_initial, |wait| settings.queue.down_initial.min(*wait));
    settings.queue.down_max = last.map_or(settings.queue.down_max, |wait| settings.queue.down_max.min(*wait));
    settings.queue.lifetime = config.queue.lifetime.0;
    settings.queue.warn_after = config.queue.delay_warning.0;
    settings.queue.connections_max = config.queue.connections_per_destination;
    settings.queue.connections_initial = settings.queue.connections_initial.min(config.queue.connections_per_destination);
    settings.queue.connections_total_max = config.queue.connections;
    settings.queue.messages_per_connection = config.queue.messages_per_connection as usize;
    settings.queue.limits = config.queue.limits.iter().map(QueueLimit::limit).collect();
    settings.delivery.connect_timeout = config.queue.connect_timeout.0;
    settings.transport = config.transport.settings();
    settings.forwarding = config.forwarding.settings();
    settings.suppression = config.bounces.suppression();
    settings.fallback = fallback(&config.relay_fallback, &mut settings.delivery.credentials)?;
    settings.delivery.return_paths = config.bounces.return_paths();
    settings.delivery.port = config.outbound_port;
    settings.delivery.source_ipv4 = config.source_address.filter(IpAddr::is_ipv4);
    settings.delivery.source_ipv6 = config.source_address.filter(IpAddr::is_ipv6);
    settings.delivery.seed = u64::from_le_bytes(crate::random::octets()?);
    for route in &config.route {
        if let Some(file) = &route.credentials_file {
            settings.delivery.credentials.insert(file.display().to_string(), credentials(file)?);
        }
    }
    settings.delivery.sources = config.source.iter().map(crate::config::Source::settings).collect();
    settings.delivery.own_names.clone_from(&config.own_names);
    settings.backups = config.route.iter().filter(|route| route.accept).map(backup).collect::<Result<_>>()?;
    settings.routes = config.route.iter().map(rule).collect::<Result<_>>()?;
    Ok(settings)
}

fn authentication(config: &Authentication) -> mta::settings::Authentication {
    let mut authentication = mta::settings::Authentication { is_on: config.check, wait_max: config.wait.0, ..Default::default() };
    authentication.dmarc = match config.dmarc {
        Dmarc::Obey => mta::settings::Dmarc::Obey,
        Dmarc::Junk => mta::settings::Dmarc::Junk,
        Dmarc::Ignore => mta::settings::Dmarc::Ignore,
    };
    authentication.reports_dmarc = config.reports;
    if config.public_suffixes {
        authentication.inspection.discovery = mailauth::dmarc::Discovery::PublicSuffix;
    }
    authentication
}

fn filter(config: &Config) -> mta::settings::Filter {
    let [junk_at, reject_at] = [config.filter.junk_points, config.filter.reject_points].map(|points| i32::from(points) * 100);
    mta::settings::Filter {
        is_on: config.filter.check,
        lists: config.lists(),
        traps: config.filter.traps.iter().filter_map(|trap| mail::Address::parse(trap).ok()).collect(),
        first_contact: config.first_contact(),
        judgement: filter::Settings { junk_at, reject_at: (reject_at > 0).then_some(reject_at) },
        ..Default::default()
    }
}

/// What decides about mail: read without a file that the config names.
pub(crate) fn policy(config: &Config) -> mta::explain::Policy {
    let mut settings = mta::Settings::new(config.hostname.clone());
    settings.receive.authentication = authentication(&config.authentication);
    settings.receive.filter = filter(config);
    mta::explain::Policy::of(&settings)
}

fn fallback(config: &RelayFallback, known: &mut BTreeMap<String, Credentials>) -> Result<Option<Fallback>> {
    let bad = |error: mta::route::TargetError| Failure::usage(format!("relay_fallback: {error}"));
    let targets = config.hosts.iter().map(|text| Target::parse(text).map_err(bad)).collect::<Result<Vec<_>>>()?;
    if let Some(file) = &config.credentials_file {
        known.insert(file.display().to_string(), credentials(file)?);
    }
    let credentials = config.credentials_file.as_ref().map(|file| file.display().to_string());
    let relay = Arc::new(Smarthost { targets, balanced: false, tls: tls(config.tls), credentials });
    let fallback = Fallback { relay, probe: config.probe.0, probe_max: config.probe_max.0 };
    Ok((!config.hosts.is_empty()).then_some(fallback))
}

fn backup(route: &Route) -> Result<Backup> {
    let bad = |error: mail::DomainError| Failure::usage(format!("route: {error}"));
    let domains = route.recipient_domains.iter().map(|text| Pattern::parse(text).map_err(bad)).collect::<Result<_>>()?;
    let known = match (&route.recipients_file, route.call_ahead) {
        (Some(file), _) => Known::Listed(Arc::new(recipients(file)?)),
        (None, true) => Known::Asked,
        (None, false) => Known::Anyone,
    };
    Ok(Backup { domains, known, lifetime: route.lifetime.map(|span| span.0) })
}

/// One address a line; empty lines and those that begin with # are passed over.
fn recipients(file: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = |(place, line): (usize, &str)| {
        let bad = |error| Failure::usage(format!("{}:{}: {line:?} is no mail address: {error}", file.display(), place + 1));
        mail::Address::parse(line).map(|address| address.key()).map_err(bad)
    };
    lines.map(read).collect()
}

fn tls(tls: RouteTls) -> Tls {
    match tls {
        RouteTls::None => Tls::None,
        RouteTls::Opportunistic => Tls::Opportunistic,
        RouteTls::Required => Tls::Required,
        RouteTls::Implicit => Tls::Implicit,
    }
}

fn rule(route: &Route) -> Result<Rule> {
    let bad = |error: &dyn std::fmt::Display| Failure::usage(format!("route: {error}"));
    let patterns =
        |texts: &[String]| texts.iter().map(|text| Pattern::parse(text).map_err(|error| bad(&error))).collect::<Result<Vec<_>>>();
    let matching = match (route.recipient_domains.as_slice(), route.sender_domains.as_slice()) {
        ([], []) => Matching::Everything,
        ([], senders) => Matching::Senders(patterns(senders)?),
        (recipients, _) => Matching::Recipients(patterns(recipients)?),
    };
    let targets = route.hosts.iter().map(|text| Target::parse(text).map_err(|error| bad(&error))).collect::<Result<Vec<_>>>()?;
    let tls = tls(route.tls);
    let credentials = route.credentials_file.as_ref().map(|file| file.display().to_string());
    let smarthost = Smarthost { targets, balanced: route.balanced, tls, credentials };
    let next = if route.hosts.is_empty() { Next::Mx } else { Next::Smarthost(Arc::new(smarthost)) };
    Ok(Rule { matching, accept: route.accept, next })
}

pub(crate) fn credentials(file: &Path) -> Result<Credentials> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    let text = zeroize::Zeroizing::new(text);
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(login), Some(password)) if !login.is_empty() && !password.is_empty() => {
            Ok(Credentials { login: login.to_owned(), password: Secret::new(password) })
        }
        _ => Err(Failure::usage(format!("{}: expected the login on the first line and the password on the second", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<mta::Settings> {
        settings(&Config::parse(Path::new("p"), &format!("hostname = \"h.example\"\n{text}"))?)
    }

    #[test]
    fn routes_are_for_recipients_senders_or_everything() {
        let routes = "[[route]]\nrecipient_domains = [\"*.a.example\"]\naccept = true\n[[route]]\nsender_domains = [\"b.example\"]\nhosts = [\"mx.example:2525\"]\n[[route]]\nhosts = [\"192.0.2.1\"]\ntls = \"required\"\n";
        let rules = of(routes).unwrap().routes;
        let [recipients, senders, everything] = rules.as_slice() else { panic!("{rules:?}") };
        assert!(matches!(&recipients.matching, Matching::Recipients(_)) && recipients.accept && recipients.next == Next::Mx);
        let Next::Smarthost(smarthost) = &senders.next else { panic!("{senders:?}") };
        assert!(matches!(&senders.matching, Matching::Senders(_)) && smarthost.targets[0].port == 2525);
        let Next::Smarthost(smarthost) = &everything.next else { panic!("{everything:?}") };
        assert_eq!((&everything.matching, smarthost.tls), (&Matching::Everything, Tls::Required));
    }

    #[test]
    fn credentials_are_two_lines_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("[[route]]\nhosts = [\"h\"]\ncredentials_file = \"{}\"\n", file.path().display());
        assert!(of(&text).is_err(), "empty");
        std::fs::write(file.path(), "login\npass word\n").unwrap();
        let settings = of(&text).unwrap();
        let credentials = settings.delivery.credentials.values().next().unwrap();
        assert_eq!((credentials.login.as_str(), credentials.password.expose()), ("login", "pass word"));
    }

    #[test]
    fn backups_know_their_recipients_by_a_file_or_by_asking() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# friends\nAnn@friends.example\n\n").unwrap();
        let route = |more: &str| of(&format!("[[route]]\nrecipient_domains = [\"friends.example\"]\n{more}\n"));
        let listed = route(&format!("accept = true\nlifetime = \"30d\"\nrecipients_file = \"{}\"", file.path().display())).unwrap();
        let [backup] = listed.backups.as_slice() else { panic!("{:?}", listed.backups) };
        assert!(matches!(&backup.known, Known::Listed(list) if list.contains("ann@friends.example") && list.len() == 1));
        assert_eq!(backup.lifetime.map(|span| span.as_secs()), Some(30 * 86_400));
        assert_eq!(route("accept = true\ncall_ahead = true").unwrap().backups[0].known, Known::Asked);
        assert!(route("").unwrap().backups.is_empty() && route("call_ahead = true").is_err());
        std::fs::write(file.path(), "nobody\n").unwrap();
        assert!(route(&format!("accept = true\nrecipients_file = \"{}\"", file.path().display())).is_err());
    }

    #[test]
    fn the_relay_is_for_domains_that_refuse_us() {
        assert_eq!(of("").unwrap().fallback, None);
        let fallback = of("[relay_fallback]\nhosts = [\"relay.example:587\"]\nprobe = \"2h\"\n").unwrap().fallback.unwrap();
        assert_eq!((fallback.relay.tls, fallback.relay.targets[0].port, fallback.probe.as_secs()), (Tls::Required, 587, 7200));
        assert!(of("[relay_fallback]\nhosts = [\"no host\"]\n").is_err());
    }

    #[test]
    fn hosts_that_are_down_wait_no_longer_than_mail_does() {
        let settings = of("[queue]\nretry = [\"1s\", \"4s\"]\n").unwrap();
        assert_eq!((settings.queue.down_initial.as_secs(), settings.queue.down_max.as_secs()), (1, 4));
        assert_eq!(of("").unwrap().queue.down_initial, mta::settings::Queue::default().down_initial);
    }
}
