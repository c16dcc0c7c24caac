//! `postrider check dnsbl`: whether block and allow lists work, and what they say of an address or a domain.

use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::public_resolver;
use clap::Args;
use filter::dnsbl::{Fitness, List, Of, Standing};
use mail::lookup::Recorded;
use mta::list_trial::{TRIAL_WAIT, tried};
use mta::receive::ask_all;
use mta::transport::explain::{Mark, Step};
use net::Dns;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Dnsbl {
    /// What to ask the lists about as well: an IP address, or a domain
    #[arg(value_name = "ADDRESS|DOMAIN")]
    about: Option<String>,
}

/// What the lists are asked about beside.
enum About {
    Host(IpAddr),
    Domain(String),
}

impl Dnsbl {
    pub(super) fn subject(&self) -> String {
        self.about.clone().unwrap_or_default()
    }

    pub(super) async fn steps(&self, config: &Config, dns: &Arc<dyn Dns>) -> Result<Vec<Step>> {
        let about = self.about.as_deref().map(about).transpose()?;
        let lists = config.lists();
        if lists.is_empty() {
            return Ok(vec![step("[[list]]", Mark::Note, "no list is set".to_owned())]);
        }
        let mut steps = resolvers(public_resolver::in_use(config));
        for (list, fitness) in tried(dns, &lists).await {
            steps.push(step(&list.zone, mark(&fitness), fitness.words()));
        }
        if let Some(about) = &about {
            steps.extend(listed(dns, &lists, about).await);
        }
        Ok(steps)
    }
}

fn about(text: &str) -> Result<About> {
    let text = text.trim_matches(['[', ']']);
    if let Ok(host) = text.parse() {
        return Ok(About::Host(host));
    }
    let domain = mail::Domain::parse(text).map_err(|_| Failure::usage(format!("{text:?} is neither an IP address nor a domain")))?;
    Ok(About::Domain(mailauth::dmarc::registered(&domain.as_str().to_ascii_lowercase())))
}

fn resolvers(found: Vec<(IpAddr, Option<&'static str>)>) -> Vec<Step> {
    let of = |(address, owner): (IpAddr, Option<&'static str>)| match owner {
        Some(owner) => step(
            &address.to_string(),
            Mark::Problem,
            format!("a public resolver of {owner}: most lists do not answer it; use one of your own"),
        ),
        None => step(&address.to_string(), Mark::Good, "not known to be a public resolver".to_owned()),
    };
    if found.is_empty() {
        return vec![step("dns", Mark::Note, "which resolvers the system uses is not known".to_owned())];
    }
    found.into_iter().map(of).collect()
}

async fn listed(dns: &Arc<dyn Dns>, lists: &[List], about: &About) -> Vec<Step> {
    let question = |list: &List| match about {
        About::Host(host) => (list.of == Of::Hosts).then(|| list.question(*host)),
        About::Domain(domain) => (list.of == Of::Domains).then(|| list.question_of(domain)),
    };
    let mut answers = Recorded::default();
    ask_all(dns, lists.iter().filter_map(question).collect(), tokio::time::Instant::now() + TRIAL_WAIT, &mut answers).await;
    let said = |list: &List| match about {
        About::Host(host) => Some((host.to_string(), list.standing(*host, &answers))),
        About::Domain(domain) => Some((domain.clone(), list.standing_of(domain, &answers))),
    };
    let of = |list: &List| {
        let (subject, standing) = said(list).filter(|_| question(list).is_some())?;
        let (mark, words) = match standing {
            Standing::NotListed => (Mark::Good, format!("not listed by {}", list.zone)),
            Standing::Listed(codes) => {
                let codes: Vec<_> = codes.iter().map(ToString::to_string).collect();
                (Mark::Note, format!("listed by {} ({}): {:+.2} points", list.zone, codes.join(", "), f64::from(list.weight) / 100.0))
            }
            Standing::Error(why) => (Mark::Problem, format!("{}: {why}", list.zone)),
            Standing::Unknown => (Mark::Problem, format!("{} does not answer", list.zone)),
        };
        Some(step(&subject, mark, words))
    };
    let steps: Vec<Step> = lists.iter().filter_map(of).collect();
    if steps.is_empty() { vec![step("[[list]]", Mark::Note, "no list is asked about such".to_owned())] } else { steps }
}

const fn mark(fitness: &Fitness) -> Mark {
    match fitness {
        Fitness::Fit { .. } => Mark::Good,
        _ => Mark::Problem,
    }
}

fn step(subject: &str, mark: Mark, words: String) -> Step {
    Step { subject: subject.to_owned(), mark, words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::Domain;
    use net::FakeDns;
    use std::path::Path;

    #[test]
    fn lists_are_tried_and_asked() {
        let config = "hostname = \"h\"\ndns = [\"9.9.9.9:53\", \"127.0.0.1:53\"]\n\
            [[list]]\nzone = \"bl.example\"\npoints = 4\n[[list]]\nzone = \"all.example\"\npoints = 2\n\
            [[list]]\nzone = \"dbl.example\"\nof = \"domains\"\npoints = 3\n[[list]]\nzone = \"shy.example\"\npoints = 3\n";
        let config = Config::parse(Path::new("p"), config).unwrap();
        let listed = [
            ("2.0.0.127.bl.example", "127.0.0.2"),
            ("7.2.0.192.bl.example", "127.0.0.4"),
            ("2.0.0.127.all.example", "127.0.0.2"),
            ("1.0.0.127.all.example", "127.0.0.2"),
            ("test.dbl.example", "127.0.1.2"),
            ("evil.example.dbl.example", "127.0.1.4"),
            ("2.0.0.127.shy.example", "127.255.255.254"),
            ("7.2.0.192.shy.example", "127.255.255.255"),
        ];
        let dns = listed
            .iter()
            .fold(FakeDns::new(), |dns, (name, address)| dns.with_address(&Domain::parse(name).unwrap(), address.parse().unwrap()));
        let dns: Arc<dyn Dns> = Arc::new(dns);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shown = |about: &str| {
            let command = Dnsbl { about: (!about.is_empty()).then(|| about.to_owned()) };
            let steps = runtime.block_on(command.steps(&config, &dns)).unwrap();
            let of = |step: Step| format!("{:?} {}: {}", step.mark, step.subject, step.words);
            steps.into_iter().map(of).collect::<Vec<_>>()
        };
        let trials = shown("");
        let want = [
            "Problem 9.9.9.9: a public resolver of Quad9",
            "Good 127.0.0.1: not known",
            "Good bl.example: works",
            "Problem all.example: lists what no list does",
            "Good dbl.example: works",
            "Problem shy.example: the list does not answer public resolvers",
        ];
        assert_eq!(trials.len(), want.len(), "{trials:?}");
        assert!(trials.iter().zip(want).all(|(step, want)| step.starts_with(want)), "{trials:#?}");
        let host = shown("192.0.2.7").split_off(want.len());
        assert_eq!(
            host,
            [
                "Note 192.0.2.7: listed by bl.example (127.0.0.4): +4.00 points",
                "Good 192.0.2.7: not listed by all.example",
                "Problem 192.0.2.7: shy.example: the list was asked too often (127.255.255.255)",
            ]
        );
        assert_eq!(shown("www.Evil.example").split_off(want.len()), ["Note evil.example: listed by dbl.example (127.0.1.4): +3.00 points"]);
        assert!(about("no such thing").is_err());
    }
}
