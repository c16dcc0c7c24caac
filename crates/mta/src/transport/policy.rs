//! What TLS with one mail exchanger must be: a pure function of recorded answers.
//!
//! Who has the word, from the first to the last:
//! 1. The sender: `TLS-Required: No` (RFC 8689 §4.2.2) asks for delivery before security.
//! 2. DANE (RFC 7672): TLSA records that DNSSEC vouches for. A failure of DANE is not healed by MTA-STS
//!    (RFC 8461 §2).
//! 3. MTA-STS in mode `enforce` (RFC 8461 §5).
//! 4. REQUIRETLS (RFC 8689 §4.2.1) adds to 2 and 3 that the host's name must be vouched for, by DNSSEC or by
//!    MTA-STS, and its certificate verified.
//! 5. Otherwise opportunistic TLS (RFC 7435).
//!
//! Invariant: where the answers leave open whether clear text is allowed, it is not: the mail waits.

use super::mta_sts::{Mode, Policy};
use crate::settings::Transport as Settings;
use mail::{Domain, EnhancedStatus, TlsDemand};
use net::tls::is_usable;
use net::{Security, Tlsa};
use std::fmt;

/// What DNS said of a host's TLSA records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsaAnswer {
    /// It was not asked: DANE is off, or the host's own address is not vouched for (RFC 7672 §2.2.2).
    Unasked,
    /// There are none, or DNSSEC does not vouch for them.
    None,
    /// Records that DNSSEC vouches for, at this name (the TLSA base domain, RFC 7672 §2.2.3).
    Found(Vec<Tlsa>, Domain),
    /// No answer, or a bogus one; why, in words.
    Failed(String),
}

/// What is known of a domain's MTA-STS policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StsAnswer {
    /// MTA-STS is off here, or the domain has no policy, or mode `none`.
    None,
    /// It has this one.
    Policy(Policy),
    /// It says that it has one, which could not be had, and none is remembered (RFC 8461 §5: as without one).
    Unknown(StsFault),
}

/// Why a policy could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StsFault {
    /// It could not be fetched.
    Fetch(String),
    /// The web server's certificate does not verify.
    WebPki(String),
    /// It is none.
    Invalid(String),
}

impl fmt::Display for StsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(why) | Self::WebPki(why) => write!(f, "its MTA-STS policy cannot be fetched: {why}"),
            Self::Invalid(why) => write!(f, "its MTA-STS policy cannot be read: {why}"),
        }
    }
}

/// Everything that was recorded about one host.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// The host, as the MX record names it.
    pub host: &'a Domain,
    /// How far DNSSEC vouches for the MX records, or for their absence.
    pub mx: Security,
    /// Its TLSA records.
    pub tlsa: &'a TlsaAnswer,
    /// The domain's MTA-STS policy.
    pub sts: &'a StsAnswer,
    /// What the sender says.
    pub demand: TlsDemand,
    /// What the operator says.
    pub settings: &'a Settings,
}

/// What TLS must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsPolicy {
    /// If it is offered and works, else clear text; no certificate is checked.
    Opportunistic,
    /// TLS or nothing; no certificate is checked.
    Encrypted,
    /// TLS with a certificate that an authority vouches for, for the host's name, or nothing.
    WebPki,
    /// TLS with a server that these TLSA records speak of, or nothing. The name is asked for (SNI) and must be
    /// in certificates that are verified by an authority (DANE-TA).
    Dane(Vec<Tlsa>, Domain),
}

impl TlsPolicy {
    /// Whether mail may be sent in clear text.
    pub const fn allows_plaintext(&self) -> bool {
        matches!(self, Self::Opportunistic)
    }

    /// In words: `DANE`, `MTA-STS` and so on stand in [`Decided::because`].
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Opportunistic => "TLS if it works, else clear text",
            Self::Encrypted => "TLS, certificate not checked",
            Self::WebPki => "TLS, certificate checked for the host's name",
            Self::Dane(..) => "TLS, certificate checked by DANE",
        }
    }
}

/// What a delivery must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What TLS must be.
    pub policy: TlsPolicy,
    /// Whether the server must offer REQUIRETLS.
    pub requiretls: bool,
    /// A certificate that would not pass is to be reported, but does not hinder: MTA-STS in mode `testing`.
    pub testing: bool,
    /// Why, in words.
    pub because: String,
}

/// Why a host gets no mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status for a report.
    pub status: EnhancedStatus,
    /// What is to be reported by TLS-RPT.
    pub fault: RefusedFault,
    /// In words.
    pub words: String,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedFault {
    /// TLSA records could not be had.
    Tlsa,
    /// The MTA-STS policy does not name the host.
    StsMx,
    /// REQUIRETLS: nobody vouches for the host's name.
    Unvouched,
}

/// Decides.
///
/// # Errors
/// When the host must not get the mail, whatever its TLS.
pub fn decide(recorded: &Recorded<'_>) -> Result<Decided, Refused> {
    if recorded.demand == TlsDemand::Optional {
        return Ok(opportunistic("the message says TLS-Required: No"));
    }
    let decided = by_domain(recorded)?;
    if recorded.demand == TlsDemand::Required { required(recorded, decided) } else { Ok(decided) }
}

/// What the recipient's domain and our settings say.
fn by_domain(recorded: &Recorded<'_>) -> Result<Decided, Refused> {
    let dane = by_dane(recorded)?;
    let enforced = by_mta_sts(recorded)?;
    Ok(match (dane, enforced) {
        // Records that vouch for the server are the stronger proof, whoever vouches for its name.
        (Some(Decided { policy: TlsPolicy::Dane(records, name), because, .. }), _) => {
            Decided { policy: TlsPolicy::Dane(records, name), requiretls: false, testing: false, because }
        }
        (Some(unusable), Decided { policy: TlsPolicy::Opportunistic, testing, .. }) => Decided { testing, ..unusable },
        (Some(_) | None, sts) => sts,
    })
}

/// `None`: DANE has nothing to say.
fn by_dane(recorded: &Recorded<'_>) -> Result<Option<Decided>, Refused> {
    if !recorded.settings.dane {
        return Ok(None);
    }
    match recorded.tlsa {
        TlsaAnswer::Unasked | TlsaAnswer::None => Ok(None),
        TlsaAnswer::Failed(why) => Err(Refused {
            status: EnhancedStatus::new(4, 7, 5),
            fault: RefusedFault::Tlsa,
            words: format!("whether {} has TLSA records is not known, so that nothing is sent: {why}", recorded.host),
        }),
        TlsaAnswer::Found(records, name) if records.iter().any(is_usable) => {
            let policy = TlsPolicy::Dane(records.clone(), name.clone());
            let because = format!("{} has TLSA records (DANE)", recorded.host);
            Ok(Some(Decided { policy, requiretls: false, testing: false, because }))
        }
        TlsaAnswer::Found(..) => {
            let because = format!("{} has TLSA records, but none that is usable: TLS is used without checking (RFC 7672)", recorded.host);
            Ok(Some(Decided { policy: TlsPolicy::Encrypted, requiretls: false, testing: false, because }))
        }
    }
}

fn by_mta_sts(recorded: &Recorded<'_>) -> Result<Decided, Refused> {
    let StsAnswer::Policy(policy) = recorded.sts else {
        let because = match recorded.sts {
            StsAnswer::Unknown(fault) => fault.to_string(),
            _ => "neither DANE nor MTA-STS asks for TLS".to_owned(),
        };
        return Ok(opportunistic(&because));
    };
    match (policy.mode, policy.names(recorded.host)) {
        _ if !recorded.settings.mta_sts => Ok(opportunistic("MTA-STS is off here")),
        (Mode::Enforce, true) => {
            let because = "the domain's MTA-STS policy is enforced".to_owned();
            Ok(Decided { policy: TlsPolicy::WebPki, requiretls: false, testing: false, because })
        }
        (Mode::Enforce, false) => Err(Refused {
            status: EnhancedStatus::new(4, 7, 5),
            fault: RefusedFault::StsMx,
            words: format!("the domain's MTA-STS policy does not name {}", recorded.host),
        }),
        (Mode::Testing, _) => Ok(Decided { testing: true, ..opportunistic("the domain tests its MTA-STS policy") }),
        (Mode::None, _) => Ok(opportunistic("the domain's MTA-STS policy is none")),
    }
}

/// REQUIRETLS on top of what the domain says (RFC 8689 §4.2.1).
fn required(recorded: &Recorded<'_>, decided: Decided) -> Result<Decided, Refused> {
    let by_sts = recorded.settings.mta_sts
        && matches!(recorded.sts, StsAnswer::Policy(policy) if policy.mode != Mode::None && policy.names(recorded.host));
    if recorded.mx != Security::Secure && !by_sts {
        return Err(Refused {
            status: EnhancedStatus::new(5, 7, 10),
            fault: RefusedFault::Unvouched,
            words: format!("the message requires TLS, and neither DNSSEC nor MTA-STS vouches for {}", recorded.host),
        });
    }
    let policy = match decided.policy {
        dane @ TlsPolicy::Dane(..) => dane,
        _ => TlsPolicy::WebPki,
    };
    Ok(Decided { policy, requiretls: true, testing: false, because: "the message requires TLS (REQUIRETLS)".to_owned() })
}

fn opportunistic(because: &str) -> Decided {
    Decided { policy: TlsPolicy::Opportunistic, requiretls: false, testing: false, because: because.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn tlsa(usage: u8) -> TlsaAnswer {
        let record = Tlsa { usage, selector: 1, matching: 1, data: vec![7; 32] };
        TlsaAnswer::Found(vec![record], Domain::parse("mx.a.example").unwrap())
    }

    fn sts(mode: &str, mx: &str) -> StsAnswer {
        StsAnswer::Policy(Policy::parse(&format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 1\n")).unwrap())
    }

    fn shown(decided: Result<Decided, Refused>) -> String {
        match decided {
            Err(refused) => format!("refused {}", refused.status),
            Ok(decided) => {
                let policy = match decided.policy {
                    TlsPolicy::Opportunistic => "opportunistic",
                    TlsPolicy::Encrypted => "encrypted",
                    TlsPolicy::WebPki => "webpki",
                    TlsPolicy::Dane(..) => "dane",
                };
                let requiretls = if decided.requiretls { " requiretls" } else { "" };
                let testing = if decided.testing { " testing" } else { "" };
                format!("{policy}{requiretls}{testing}")
            }
        }
    }

    /// Every combination, one line each: `policies.txt`; `UPDATE=1` rewrites it, read the difference.
    #[test]
    fn every_combination() {
        let host = Domain::parse("mx.a.example").unwrap();
        let tlsas = [
            ("unasked", TlsaAnswer::Unasked),
            ("none", TlsaAnswer::None),
            ("usable", tlsa(3)),
            ("unusable", tlsa(1)),
            ("failed", TlsaAnswer::Failed("SERVFAIL".to_owned())),
        ];
        let stss = [
            ("none", StsAnswer::None),
            ("unknown", StsAnswer::Unknown(StsFault::Fetch("404".to_owned()))),
            ("mode-none", sts("none", "mx.a.example")),
            ("testing", sts("testing", "mx.a.example")),
            ("testing-other", sts("testing", "other.example")),
            ("enforce", sts("enforce", "mx.a.example")),
            ("enforce-other", sts("enforce", "other.example")),
        ];
        let demands = [("policy", TlsDemand::ByPolicy), ("required", TlsDemand::Required), ("optional", TlsDemand::Optional)];
        let mut out = String::from("# switches | MX | TLSA | MTA-STS | demand: TLS\n");
        for (dane, mta_sts) in [(true, true), (true, false), (false, true), (false, false)] {
            let settings = Settings { dane, mta_sts, ..Settings::default() };
            let switches = format!("{}{}", if dane { "dane " } else { "" }, if mta_sts { "sts" } else { "" });
            for mx in [Security::Secure, Security::Insecure, Security::Indeterminate] {
                for (tlsa_name, tlsa) in &tlsas {
                    for (sts_name, sts) in &stss {
                        for (demand_name, demand) in demands {
                            let recorded = Recorded { host: &host, mx, tlsa, sts, demand, settings: &settings };
                            let decided = shown(decide(&recorded));
                            let _ = writeln!(out, "{} | {mx} | {tlsa_name} | {sts_name} | {demand_name}: {decided}", switches.trim());
                        }
                    }
                }
            }
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transport/policies.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &out).unwrap();
        }
        assert_eq!(out, std::fs::read_to_string(&path).unwrap());
    }

    /// What must hold of the table, whatever else changes.
    #[test]
    fn precedence() {
        let host = Domain::parse("mx.a.example").unwrap();
        let settings = Settings::default();
        let failed = || TlsaAnswer::Failed("bogus".to_owned());
        for (mx, tlsa, sts, demand, want) in [
            (Security::Secure, tlsa(3), StsAnswer::None, TlsDemand::ByPolicy, "dane"),
            (Security::Secure, tlsa(2), sts("enforce", "mx.a.example"), TlsDemand::ByPolicy, "dane"),
            (Security::Secure, tlsa(1), StsAnswer::None, TlsDemand::ByPolicy, "encrypted"),
            (Security::Secure, tlsa(1), sts("enforce", "mx.a.example"), TlsDemand::ByPolicy, "webpki"),
            (Security::Secure, failed(), sts("enforce", "mx.a.example"), TlsDemand::ByPolicy, "refused 4.7.5"),
            (Security::Insecure, TlsaAnswer::None, sts("enforce", "*.a.example"), TlsDemand::ByPolicy, "webpki"),
            (Security::Insecure, TlsaAnswer::None, sts("enforce", "b.example"), TlsDemand::ByPolicy, "refused 4.7.5"),
            (Security::Insecure, tlsa(3), sts("enforce", "b.example"), TlsDemand::ByPolicy, "refused 4.7.5"),
            (Security::Insecure, TlsaAnswer::None, sts("testing", "b.example"), TlsDemand::ByPolicy, "opportunistic testing"),
            (Security::Secure, failed(), sts("enforce", "b.example"), TlsDemand::Optional, "opportunistic"),
            (Security::Insecure, TlsaAnswer::None, StsAnswer::None, TlsDemand::Required, "refused 5.7.10"),
            (Security::Secure, TlsaAnswer::None, StsAnswer::None, TlsDemand::Required, "webpki requiretls"),
            (Security::Secure, tlsa(3), StsAnswer::None, TlsDemand::Required, "dane requiretls"),
            (Security::Insecure, TlsaAnswer::None, sts("testing", "mx.a.example"), TlsDemand::Required, "webpki requiretls"),
        ] {
            let recorded = Recorded { host: &host, mx, tlsa: &tlsa, sts: &sts, demand, settings: &settings };
            assert_eq!(shown(decide(&recorded)), want, "{recorded:?}");
        }
    }
}
