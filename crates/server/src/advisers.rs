//! The config's words about milters and hooks, turned into what the mail path asks.

use crate::config::advisers::{ListenerKind, Milter, MtaHook};
use crate::config::{Config, Octets};
use crate::failure::{Failure, Result};
use mta::advisers::{Adviser, Kind, Limits};
use net::web::{Url, Web};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Octets that a hook's answer may be longer than the largest message it is shown.
const ANSWER_OCTETS_MORE: usize = 1024 * 1024;

/// Every adviser, milters first.
///
/// # Errors
/// When a file of credentials or authorities cannot be read.
pub fn advisers(config: &Config) -> Result<Vec<Arc<Adviser>>> {
    let milters = config.milter.iter().map(milter);
    let hooks = config.mta_hook.iter().map(|hook| mta_hook(hook, config));
    milters.chain(hooks).map(|adviser| adviser.map(Arc::new)).collect()
}

fn milter(milter: &Milter) -> Result<Adviser> {
    let endpoint = milter.address.parse().map_err(|error| Failure::usage(format!("milter {}: {error}", milter.name)))?;
    let limits = limits(milter.timeout.0, milter.message_timeout.0, milter.message_octets);
    Ok(Adviser {
        name: milter.name.clone(),
        kind: Kind::Milter(endpoint),
        roles: milter.listeners.iter().copied().map(ListenerKind::role).collect(),
        on_failure: milter.on_failure.on_failure(),
        connect_max: milter.connect_timeout.0,
        limits,
        message_octets_max: milter.message_octets.0,
    })
}

fn mta_hook(hook: &MtaHook, config: &Config) -> Result<Adviser> {
    let url: Url = hook.url.parse().map_err(|error| Failure::usage(format!("mta_hook {}: {error}", hook.name)))?;
    let limits = limits(hook.timeout.0, hook.timeout.0, hook.message_octets);
    let web = Web {
        tls: if url.tls { Some(verified(config)?) } else { None },
        url,
        authorization: authorization(hook)?,
        body_octets_max: limits.body_octets_max.saturating_add(ANSWER_OCTETS_MORE),
        connect_max: hook.connect_timeout.0,
        exchange_max: hook.timeout.0,
    };
    Ok(Adviser {
        name: hook.name.clone(),
        kind: Kind::Hook { web, stages: hook.stages.iter().map(|stage| stage.stage()).collect() },
        roles: hook.listeners.iter().copied().map(ListenerKind::role).collect(),
        on_failure: hook.on_failure.on_failure(),
        connect_max: hook.connect_timeout.0,
        limits,
        message_octets_max: hook.message_octets.0,
    })
}

fn limits(answer_max: Duration, message_answer_max: Duration, message_octets: Octets) -> Limits {
    let body_octets_max = usize::try_from(message_octets.0).unwrap_or(usize::MAX);
    Limits { answer_max, message_answer_max, body_octets_max, ..Limits::default() }
}

fn verified(config: &Config) -> Result<net::tls::Client> {
    let trust = net::tls::Trust::system(config.tls.ca_file.as_deref()).map_err(|error| Failure::usage(format!("tls.ca_file: {error}")))?;
    net::tls::Client::verified(trust).map_err(|error| Failure::failed("TLS", error))
}

fn authorization(hook: &MtaHook) -> Result<Option<String>> {
    if let Some(file) = &hook.token_file {
        let text = read(file)?;
        let token = text.lines().next().unwrap_or_default().trim();
        let bad = token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic());
        return if bad {
            Err(Failure::usage(format!("{}: expected a token on the first line", file.display())))
        } else {
            Ok(Some(format!("Bearer {token}")))
        };
    }
    let Some(file) = &hook.credentials_file else { return Ok(None) };
    let credentials = crate::mail_path::credentials(file)?;
    let pair = Zeroizing::new(format!("{}:{}", credentials.login, credentials.password.expose()));
    Ok(Some(format!("Basic {}", mail::encoding::base64(pair.as_bytes()))))
}

fn read(file: &Path) -> Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Arc<Adviser>>> {
        advisers(&Config::parse(Path::new("p"), &format!("hostname = \"h.example\"\n{text}"))?)
    }

    #[test]
    fn milters_come_first_and_have_their_limits() {
        let text = "[[mta_hook]]\nname = \"h\"\nurl = \"http://127.0.0.1:1/\"\n[[milter]]\nname = \"m\"\naddress = \"unix:/m\"\n\
                    listeners = [\"mx\"]\ntimeout = \"7s\"\non_failure = \"accept\"\nmessage_octets = 1000\n";
        let advisers = of(text).unwrap();
        let [milter, hook] = advisers.as_slice() else { panic!("{advisers:?}") };
        assert_eq!((milter.name.as_str(), hook.name.as_str()), ("m", "h"));
        assert_eq!((milter.roles.len(), hook.roles.len()), (1, 2));
        assert_eq!((milter.limits.answer_max.as_secs(), milter.limits.body_octets_max, milter.message_octets_max), (7, 1000, 1000));
        assert_eq!(milter.on_failure, mta::advisers::OnFailure::Accept);
    }

    #[test]
    fn hooks_are_authorized_by_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let authorized = |key: &str, text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let hook = format!("[[mta_hook]]\nname = \"h\"\nurl = \"http://127.0.0.1:1/\"\n{key} = \"{}\"\n", file.path().display());
            let advisers = of(&hook).ok()?;
            match &advisers.first()?.kind {
                Kind::Hook { web, .. } => web.authorization.clone(),
                Kind::Milter(_) => None,
            }
        };
        assert_eq!(authorized("token_file", "t0ken\n").as_deref(), Some("Bearer t0ken"));
        assert_eq!(authorized("token_file", "two words\n"), None);
        assert_eq!(authorized("credentials_file", "user\npass word\n").as_deref(), Some("Basic dXNlcjpwYXNzIHdvcmQ="));
        assert_eq!(authorized("credentials_file", "user\n"), None);
    }
}
