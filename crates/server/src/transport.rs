//! Makes what transport security needs of the world from a config: resolver, web client, policies, reports.

use crate::config::Config;
use crate::failure::{Failure, Result};
use mta::deliver::World;
use mta::transport::sts::{Sts, WebFetch};
use mta::transport::tls_rpt::Results;
use net::https::Https;
use net::{Clock, Dns};
use std::sync::Arc;
use store::Store;

/// The world outside, as deliveries see it; policies are kept in `store`, figures gathered in `results`.
///
/// # Errors
/// When the resolver or TLS cannot be set up.
pub fn world(config: &Config, clock: &Arc<dyn Clock>, store: &Store, results: &Results) -> Result<World> {
    let settings = net::resolve::Settings {
        servers: config.dns.clone(),
        dnssec: config.transport.dnssec(),
        trust_anchors: config.transport.trust_anchors.clone(),
        ..net::resolve::Settings::default()
    };
    let resolver = net::resolve::Resolver::new(&settings).map_err(|error| Failure::failed("DNS", error))?;
    let dns: Arc<dyn Dns> = Arc::new(resolver);
    let trust = net::tls::Trust::system(config.tls.ca_file.as_deref()).map_err(|error| Failure::usage(format!("tls.ca_file: {error}")))?;
    let failed = |error: rustls::Error| Failure::failed("TLS", error);
    let tls = mta::deliver::Tls {
        opportunistic: net::tls::Client::opportunistic(trust.clone()).map_err(failed)?,
        verified: net::tls::Client::verified(trust).map_err(failed)?,
    };
    let https = https(&dns, &tls.verified);
    let fetch = Arc::new(WebFetch { https, port: config.transport.https_port });
    let sts = Sts::new(store.clone(), Arc::clone(&dns), fetch, Arc::clone(clock));
    Ok(World {
        dns,
        dial: Arc::new(net::dial::TcpDial),
        clock: Arc::clone(clock),
        tls: Some(tls),
        transport: mta::transport::Transport { sts: Some(Arc::new(sts)), results: results.clone() },
        nonce: Arc::new(|| crate::random::nonce().unwrap_or_default()),
    })
}

/// A client for small documents.
pub fn https(dns: &Arc<dyn Dns>, tls: &net::tls::Client) -> Https {
    Https { dns: Arc::clone(dns), dial: Arc::new(net::dial::TcpDial), tls: tls.clone(), limits: net::https::Limits::default() }
}
