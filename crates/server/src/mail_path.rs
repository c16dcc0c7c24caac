//! The config's words about the mail path, turned into `mta`'s settings: limits, schedule, routes.

use crate::config::{Config, Route, RouteTls};
use crate::failure::{Failure, Result};
use mta::route::{Matching, Next, Pattern, Rule, Smarthost, Target, Tls};
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
    settings.queue.retry = config.queue.retry.iter().map(|wait| wait.0).collect();
    settings.queue.lifetime = config.queue.lifetime.0;
    settings.queue.warn_after = config.queue.delay_warning.0;
    settings.queue.connections_max = config.queue.connections_per_destination;
    settings.queue.connections_initial = settings.queue.connections_initial.min(config.queue.connections_per_destination);
    settings.queue.connections_total_max = config.queue.connections;
    settings.delivery.connect_timeout = config.queue.connect_timeout.0;
    settings.delivery.port = config.outbound_port;
    settings.delivery.source_ipv4 = config.source_address.filter(IpAddr::is_ipv4);
    settings.delivery.source_ipv6 = config.source_address.filter(IpAddr::is_ipv6);
    settings.delivery.seed = u64::from_le_bytes(crate::random::octets()?);
    for route in &config.route {
        if let Some(file) = &route.credentials_file {
            settings.delivery.credentials.insert(file.display().to_string(), credentials(file)?);
        }
    }
    settings.routes = config.route.iter().map(rule).collect::<Result<_>>()?;
    Ok(settings)
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
    let tls = match route.tls {
        RouteTls::None => Tls::None,
        RouteTls::Opportunistic => Tls::Opportunistic,
        RouteTls::Required => Tls::Required,
        RouteTls::Implicit => Tls::Implicit,
    };
    let credentials = route.credentials_file.as_ref().map(|file| file.display().to_string());
    let smarthost = Smarthost { targets, balanced: route.balanced, tls, credentials };
    let next = if route.hosts.is_empty() { Next::Mx } else { Next::Smarthost(Arc::new(smarthost)) };
    Ok(Rule { matching, accept: route.accept, next })
}

fn credentials(file: &Path) -> Result<Credentials> {
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
