//! Detours: domains whose mail goes over the relay, because their servers refuse our address.

use super::{Admin, Operation, domain_name};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::Domain;
use serde::{Deserialize, Serialize};
use store::Detour;

/// A detour as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetourView {
    /// The domain.
    pub domain: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// When the direct way is tried again, RFC 3339.
    pub next_probe: String,
    /// How often it was tried again in vain.
    pub probes: u32,
    /// Which host refused us; empty: an administrator set the detour.
    pub host: String,
    /// What it said.
    pub reason: String,
    /// The relay; null: none is set now, so that mail goes directly all the same.
    pub relay: Option<String>,
}

fn view(on: &Admin, domain: &Domain, detour: &Detour) -> DetourView {
    DetourView {
        domain: domain.to_string(),
        since: rfc3339(detour.since),
        next_probe: rfc3339(detour.next_probe),
        probes: detour.probes,
        host: detour.host.clone(),
        reason: detour.reason.clone(),
        relay: on.mail().fallback.as_ref().and_then(|fallback| fallback.relay.targets.first()).map(ToString::to_string),
    }
}

/// All detours.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

impl Operation for List {
    const NAME: &'static str = "detour.list";
    type Answer = Vec<DetourView>;

    fn run(self, on: &Admin) -> Result<Vec<DetourView>> {
        let admin = on.clone();
        on.read(move |tx| Ok(tx.detours()?.iter().map(|(domain, detour)| view(&admin, domain, detour)).collect()))
    }
}

/// Sends a domain's mail over the relay.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// The domain.
    pub domain: String,
    /// Why.
    pub reason: String,
}

impl Operation for Add {
    const NAME: &'static str = "detour.add";
    type Answer = DetourView;

    fn run(self, on: &Admin) -> Result<DetourView> {
        let (domain, now, admin) = (domain_name(&self.domain)?, now(), on.clone());
        let Some(fallback) = on.mail().fallback.clone() else {
            return Err(Failure::usage("there is no relay").hint("set relay_fallback.hosts in the config file"));
        };
        on.change(move |tx| {
            let next_probe = now.after(fallback.probe);
            let detour = Detour { since: now, next_probe, probes: 0, host: String::new(), reason: self.reason.clone() };
            tx.detour_set(&domain, &detour)?;
            Ok(view(&admin, &domain, &detour))
        })
    }
}

/// Sends a domain's mail directly again.
#[derive(Debug, Serialize, Deserialize)]
pub struct End {
    /// The domain.
    pub domain: String,
}

impl Operation for End {
    const NAME: &'static str = "detour.end";
    type Answer = DetourView;

    fn run(self, on: &Admin) -> Result<DetourView> {
        let (domain, admin) = (domain_name(&self.domain)?, on.clone());
        on.change(move |tx| {
            let detour = tx.detour(&domain)?.ok_or_else(|| Failure::not_found("detour of", &domain).hint("postrider detour list"))?;
            tx.detour_end(&domain)?;
            Ok(view(&admin, &domain, &detour))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mta::route::{Smarthost, Target, Tls};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn detours_are_set_listed_and_ended() {
        let mut mail = mta::Settings::new(domain_name("mx.example").unwrap());
        let mut admin = Admin { store: store::Store::memory(), service: None, dry_run: false, mail: Arc::new(mail.clone()) };
        let add = || Add { domain: "B.example".into(), reason: "moved".into() };
        assert!(add().run(&admin).is_err(), "there is no relay");
        let targets = vec![Target::parse("relay.example:587").unwrap()];
        let relay = Arc::new(Smarthost { targets, balanced: false, tls: Tls::Required, credentials: None });
        let hour = Duration::from_hours(1);
        mail.fallback = Some(mta::settings::Fallback { relay, probe: hour, probe_max: hour });
        admin.mail = Arc::new(mail);
        add().run(&admin).unwrap();
        let listed = List {}.run(&admin).unwrap();
        let shown: Vec<_> = listed.iter().map(|view| (view.domain.as_str(), view.relay.as_deref(), view.reason.as_str())).collect();
        assert_eq!(shown, [("b.example", Some("relay.example:587"), "moved")]);
        assert!(End { domain: "c.example".into() }.run(&admin).is_err());
        End { domain: "b.example".into() }.run(&admin).unwrap();
        assert_eq!(List {}.run(&admin).unwrap(), []);
    }
}
