//! Does the peer's address have a name that leads back to it? (RFC 8601 §3.)

use crate::dns::{Dns, Missing, Open};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The result (RFC 8601 §2.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IprevResult {
    /// It has.
    Pass,
    /// Its names lead elsewhere.
    Fail,
    /// DNS gave no answer.
    TempError,
    /// It has no name.
    PermError,
}

impl IprevResult {
    /// The word in header fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What became of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iprev {
    /// The result.
    pub result: IprevResult,
    /// The name that leads back.
    pub name: Option<String>,
}

/// Checks an address; `names_max` of its names are looked at.
///
/// # Errors
/// While answers are missing.
pub fn check(dns: &mut Dns<'_>, peer: IpAddr, names_max: usize) -> Result<Iprev, Open> {
    let peer = peer.to_canonical();
    let names = match dns.names(peer)? {
        Ok(names) => names,
        Err(Missing::Void) => return Ok(Iprev { result: IprevResult::PermError, name: None }),
        Err(Missing::Failed) => return Ok(Iprev { result: IprevResult::TempError, name: None }),
    };
    let forward: Vec<_> = names.iter().take(names_max).map(|name| (name, dns.addresses(name, peer))).collect();
    let mut result = IprevResult::Fail;
    for (name, addresses) in forward {
        match addresses? {
            Ok(addresses) if addresses.contains(&peer) => return Ok(Iprev { result: IprevResult::Pass, name: Some(name.clone()) }),
            Err(Missing::Failed) => result = IprevResult::TempError,
            _ => {}
        }
    }
    Ok(Iprev { result, name: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Question, Recorded, Step};

    #[test]
    fn names_must_lead_back() {
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let check = |names: Answer, addresses: Answer, want: IprevResult| {
            let mut recorded = Recorded::default();
            recorded.put(Question::Ptr(peer), names);
            recorded.put(Question::A("mx.example".to_owned()), addresses);
            let Step::Done(found) = Dns::run(&recorded, |dns| check(dns, peer, 10)) else { panic!("open") };
            assert_eq!((found.result, found.name.is_some()), (want, want == IprevResult::Pass));
        };
        let names = || Answer::Names(vec!["mx.example".to_owned()]);
        check(names(), Answer::Addresses(vec![peer]), IprevResult::Pass);
        check(names(), Answer::Addresses(vec!["192.0.2.2".parse().unwrap()]), IprevResult::Fail);
        check(names(), Answer::NoName, IprevResult::Fail);
        check(names(), Answer::Failed(String::new()), IprevResult::TempError);
        check(Answer::NoName, Answer::NoName, IprevResult::PermError);
        check(Answer::Failed(String::new()), Answer::NoName, IprevResult::TempError);
    }
}
