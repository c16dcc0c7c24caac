//! When a domain's servers refuse our address, its mail goes over a relay for a while; the direct way is tried again
//! from time to time, with one message, and taken again as soon as that works.
//!
//! ```text
//!            refused: our address is blocked            next_probe
//!  direct ────────────────────────────────────▶ relay ─────────────▶ one message direct
//!    ▲                                            ▲                      │ refused: twice the wait
//!    │                                            └──────────────────────┤
//!    └───────────────────────────────────────────────────────────────────┘ taken
//! ```
//!
//! The detours are in the store; which domain is being probed is in memory only, so that one message at a time does it.
//!
//! Invariant: a refusal of our address fails nobody while there is a relay.

use crate::bounce_class::BounceClass;
use crate::queue::outcome::Tried;
use crate::route::{Destination, Smarthost};
use crate::settings::Fallback;
use mail::{Domain, Event, Timestamp};
use smtp::client::Class;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Detour, QueueMessage, ReadTx, RecipientState, WriteTx};

/// A probe of which nothing was heard for so long is over. Our own bound.
const PROBE_MAX: Duration = Duration::from_mins(15);
/// Longest reason that is kept, characters. Our own bound.
const REASON_CHARS_MAX: usize = 300;

/// Which domains are being probed, and since when. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes(Arc<Mutex<BTreeMap<Domain, Timestamp>>>);

impl Probes {
    /// Whether the caller is the one who probes a domain now.
    fn begin(&self, domain: &Domain, now: Timestamp, time: Duration) -> bool {
        let mut probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        probes.retain(|_, since| now.since(*since) < time);
        if probes.contains_key(domain) {
            return false;
        }
        probes.insert(domain.clone(), now);
        true
    }
}

/// The way that mail takes which would go somewhere directly, as long as nobody probes.
pub(crate) fn way(tx: &ReadTx, direct: Destination, fallback: Option<&Fallback>) -> store::Result<Destination> {
    let (Destination::Mx(domain, apart), Some(fallback)) = (&direct, fallback) else { return Ok(direct) };
    Ok(match tx.detour(domain)? {
        Some(_) => Destination::Smarthost(Arc::clone(&fallback.relay), apart.demand),
        None => direct,
    })
}

/// The same way, or the direct one if it is time to try that and nobody else does.
pub(crate) fn probing(
    tx: &ReadTx,
    domain: &Domain,
    usual: Destination,
    now: Timestamp,
    probes: &Probes,
    fallback: Option<&Fallback>,
) -> store::Result<Destination> {
    let Some(fallback) = fallback.filter(|fallback| matches!(&usual, Destination::Smarthost(relay, _) if *relay == fallback.relay)) else {
        return Ok(usual);
    };
    let is_due = tx.detour(domain)?.is_some_and(|detour| detour.next_probe <= now);
    if is_due && probes.begin(domain, now, PROBE_MAX.min(fallback.probe)) {
        return Ok(Destination::Mx(domain.clone(), usual.demand().into()));
    }
    Ok(usual)
}

/// What an attempt says of detours: recipients that are tried again over the relay, at once, with their new states and
/// events, and the attempts that are left to be judged.
pub(crate) struct Diverted {
    pub(crate) states: Vec<(usize, RecipientState)>,
    pub(crate) events: Vec<Event>,
    pub(crate) left: Vec<Tried>,
}

/// Sets and ends detours by what direct attempts brought.
pub(crate) fn divert(
    tx: &mut WriteTx,
    message: &QueueMessage,
    tried: &[Tried],
    now: Timestamp,
    fallback: Option<&Fallback>,
) -> store::Result<Diverted> {
    let mut diverted = Diverted { states: Vec::new(), events: Vec::new(), left: Vec::new() };
    for one in tried {
        let entry = message.recipients.get(one.index).filter(|_| one.direct);
        let (Some(entry), Some(fallback)) = (entry, fallback) else {
            diverted.left.push(one.clone());
            continue;
        };
        let domain = entry.recipient.address.domain();
        let known = tx.detour(domain)?;
        match (one.class, one.bounce_class(), known) {
            (Class::Delivered, _, Some(_)) => {
                tx.detour_end(domain)?;
                diverted.left.push(one.clone());
            }
            (Class::Transient | Class::Permanent, BounceClass::OurAddressBlocked, known) => {
                let detour = refused(known, &one.attempt.host, &one.attempt.reply, now, fallback);
                tx.detour_set(domain, &detour)?;
                if let Some((state, events)) = again(one, entry, &fallback.relay, now) {
                    diverted.states.push((one.index, state));
                    diverted.events.extend(events);
                }
            }
            _ => diverted.left.push(one.clone()),
        }
    }
    Ok(diverted)
}

/// Once more, at once; the way is the relay by then.
fn again(one: &Tried, entry: &store::QueueRecipient, relay: &Smarthost, now: Timestamp) -> Option<(RecipientState, [Event; 3])> {
    let RecipientState::Open { attempts, delay_reported, .. } = entry.state else { return None };
    let (recipient, reason) = (entry.recipient.address.clone(), one.attempt.reply.clone());
    let state = RecipientState::Open { attempts: attempts.saturating_add(1), next: now, delay_reported, last: Some(reason.clone()) };
    let relay = relay.targets.first().map(ToString::to_string).unwrap_or_default();
    let class = BounceClass::OurAddressBlocked.name().to_owned();
    let events = [
        one.event(&entry.recipient),
        Event::Classified { recipient: recipient.clone(), class },
        Event::Detoured { recipient, relay, reason },
    ];
    Some((state, events))
}

/// The detour after one more refusal. Messages that were on their way when it was set change nothing.
fn refused(known: Option<Detour>, host: &str, reason: &str, now: Timestamp, fallback: &Fallback) -> Detour {
    let reason = reason.chars().take(REASON_CHARS_MAX).collect();
    match known {
        Some(known) if known.next_probe > now => known,
        Some(known) => {
            let probes = known.probes.saturating_add(1);
            let wait = fallback.probe.saturating_mul(1 << probes.min(16)).min(fallback.probe_max.max(fallback.probe));
            Detour { next_probe: now.after(wait), probes, host: host.to_owned(), reason, ..known }
        }
        None => Detour { since: now, next_probe: now.after(fallback.probe), probes: 0, host: host.to_owned(), reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Target, Tls};
    use mail::TlsDemand;
    use store::Store;

    fn fallback() -> Fallback {
        let targets = vec![Target::parse("relay.example").unwrap()];
        let relay = Arc::new(Smarthost { targets, balanced: false, tls: Tls::Opportunistic, credentials: None });
        Fallback { relay, probe: Duration::from_hours(1), probe_max: Duration::from_hours(24) }
    }

    fn at(minutes: u64) -> Timestamp {
        Timestamp(0).after(Duration::from_mins(minutes))
    }

    #[test]
    fn each_probe_in_vain_doubles_the_wait() {
        let (mut known, mut now) = (None, Timestamp(0));
        for hours in [1, 2, 4, 8, 16, 24, 24] {
            let detour = refused(known, "mx.b.example", "554 no", now, &fallback());
            assert_eq!(detour.next_probe.since(now), Duration::from_hours(hours));
            let straggler = refused(Some(detour.clone()), "mx2.b.example", "554 no", Timestamp(now.0 + 1), &fallback());
            assert_eq!(straggler, detour, "what was on its way changes nothing");
            now = detour.next_probe;
            known = Some(detour);
        }
    }

    #[test]
    fn one_message_at_a_time_probes_the_direct_way() {
        let store = Store::memory();
        let (b, c) = (Domain::parse("b.example").unwrap(), Domain::parse("c.example").unwrap());
        let detour = refused(None, "mx.b.example", "554 no", Timestamp(0), &fallback());
        let of = b.clone();
        store.write_blocking(move |tx| tx.detour_set(&of, &detour)).unwrap();
        let (probes, fallback) = (Probes::default(), fallback());
        let to = |domain: &Domain, now, fallback: Option<&Fallback>| {
            let direct = Destination::Mx(domain.clone(), TlsDemand::ByPolicy.into());
            let asked = |tx: &ReadTx| probing(tx, domain, way(tx, direct.clone(), fallback)?, now, &probes, fallback);
            store.read_short(asked).unwrap().to_string()
        };
        let relay = "relay.example:25";
        for (domain, now, fallback, want) in [
            (&b, at(1), Some(&fallback), relay),
            (&c, at(1), Some(&fallback), "c.example"),
            (&b, at(1), None, "b.example"),
            (&b, at(60), Some(&fallback), "b.example"),
            (&b, at(61), Some(&fallback), relay),
            // Nothing was heard of that one.
            (&b, at(90), Some(&fallback), "b.example"),
            (&b, at(91), Some(&fallback), relay),
        ] {
            assert_eq!(to(domain, now, fallback), want, "{domain} {now:?}");
        }
    }
}
