//! The web servers of the world that have MTA-STS policies, as a script.

use mta::transport::policy::StsFault;
use mta::transport::sts::{Fetch, Fetching};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Scripted policies. Clones are the same; the script can change while it runs.
#[derive(Debug, Clone, Default)]
pub struct Policies(Arc<Mutex<BTreeMap<String, String>>>);

impl Policies {
    /// A domain's web server has this policy from now on; `None`: it does not answer.
    pub fn set(&self, domain: &str, text: Option<&str>) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => texts.insert(domain.to_owned(), text.to_owned()),
            None => texts.remove(domain),
        };
    }
}

impl Fetch for Policies {
    fn fetch<'a>(&'a self, domain: &'a mail::Domain) -> Fetching<'a> {
        Box::pin(async move {
            let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            texts.get(domain.as_str()).cloned().ok_or_else(|| StsFault::Fetch("nobody answers".to_owned()))
        })
    }
}
