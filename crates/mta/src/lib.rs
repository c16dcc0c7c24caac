//! The way of a message: received, routed, queued, delivered, reported.
//!
//! [`receive`] answers the questions of SMTP server sessions, [`queue`] decides when mail is tried,
//! [`route`] where it goes, [`transport`] what TLS must be, [`deliver`] hands it on, [`bounce`] tells senders what became of it,
//! [`explain`] makes an old decision again.
//!
//! What this crate is not: it knows no command of SMTP (`smtp`), no socket (`net`) and no engine
//! (`store`).
//!
//! **Guarantee.** An accepted message is in exactly one of draft (no 250 yet), queued, delivered,
//! bounced, discarded by a rule. Every step is one store transaction; a crash at any point repeats
//! at most one delivery per connection and loses none.
//!
//! Invariants
//! - Whatever is not known to be permanent is transient: the mail is kept.
//! - An attempt's outcome is committed before the next message's body leaves on its connection.
//! - Every decision leaves an event in the message's trail.

pub mod advisers;
pub mod bounce;
pub mod bounce_class;
pub mod counters;
pub mod deliver;
mod detour;
pub mod explain;
mod forward;
pub mod list_trial;
mod local;
pub mod outbound;
mod outbox;
pub mod queue;
pub mod receive;
pub mod return_path;
mod returned;
pub mod route;
pub mod settings;
pub mod source;
mod subaddress;
mod suppress;
pub mod transport;

#[doc(hidden)]
pub mod fuzz {
    //! Entries for the fuzzer: hostile bytes in, no panic out.

    /// An MTA-STS policy and the DNS records of MTA-STS and TLS-RPT; what is read is written and read again.
    pub fn mta_sts(data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        if let Ok(policy) = crate::transport::mta_sts::Policy::parse(&text) {
            let again = crate::transport::mta_sts::Policy::parse(&policy.to_string());
            assert!(again.is_ok_and(|again| again == policy), "a policy changes when it is written");
        }
        let _ = crate::transport::mta_sts::id(&[data.to_vec()]);
        let _ = crate::transport::tls_rpt::receivers(&[data.to_vec()]);
    }

    /// A TLS report, and a mail that carries one.
    pub fn tls_report(data: &[u8]) {
        let _ = crate::transport::tls_rpt::Report::read(data);
        let _ = crate::transport::tls_rpt::find(data, &mail::digest::Digest::of(data));
    }

    /// The text of a reply, and an address that claims to be a return path of ours.
    pub fn returns(data: &[u8]) {
        use crate::return_path::{Key, srs, verp};
        let text = String::from_utf8_lossy(data);
        let given = crate::bounce_class::Given { stage: None, code: None, status: None, text: &text };
        let _ = crate::bounce_class::classify(&given);
        let _ = crate::bounce_class::of_words(&text);
        let Ok(address) = mail::Address::parse(&text) else { return };
        let key = Key::new(&[7; 32]);
        let _ = (srs::back(&key, &address, 20_000), verp::read(&key, &address));
        if let Some(srs::Rewritten::Whole(there)) = srs::rewrite(&key, &address, address.domain(), 20_000) {
            assert!(srs::back(&key, &there, 20_000).is_ok(), "{there} does not lead back");
        }
    }

    /// A DMARC report as XML or packed, a mail that carries one, and what was kept of a decision; what is read is written and
    /// read again.
    pub fn dmarc_report(data: &[u8]) {
        use mailauth::dmarc::aggregate::{Limits, read, write};
        if let Ok(report) = crate::transport::dmarc_report::read(data) {
            let again = read(&write(&report), &Limits { value_chars_max: usize::MAX, ..Limits::default() });
            assert!(again.is_ok_and(|again| again.rows.len() == report.rows.len()), "a report changes when it is written");
        }
        let _ = crate::transport::dmarc_report::find(data, &mail::digest::Digest::of(data));
        let _ = serde_json::from_slice::<crate::explain::Inspection>(data);
        let _ = serde_json::from_slice::<crate::explain::Judgement>(data);
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn hostile_octets_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..400)) {
                super::mta_sts(&data);
                super::tls_report(&data);
                super::dmarc_report(&data);
                super::dmarc_report(&[b"<feedback><policy_published><domain>", data.as_slice(), b"</domain></policy_published></feedback>"].concat());
                super::returns(&data);
                super::returns(&[b"SRS1=aaaaaa=", data.as_slice(), b"@x.example"].concat());
                super::mta_sts(&[b"version: STSv1\nmode: none\nmax_age: 1\n", data.as_slice()].concat());
            }
        }
    }
}

pub use counters::Counters;
pub use settings::Settings;
